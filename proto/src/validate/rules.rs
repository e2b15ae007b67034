//! One function per rule. As the standard defines, lengths count characters and `bytes` count bytes.

use std::{collections::HashSet, hash::Hash, ops::RangeInclusive};

use super::{Path, Report};

pub(super) fn min_items(len: usize, n: usize, path: &Path<'_>, report: &mut Report) {
    if len < n {
        report.add(path, "repeated.min_items", format!("must have at least {n} items, has {len}"));
    }
}

pub(super) fn max_items(len: usize, n: usize, path: &Path<'_>, report: &mut Report) {
    if len > n {
        report.add(path, "repeated.max_items", format!("must have at most {n} items, has {len}"));
    }
}

pub(super) fn unique<T: Eq + Hash>(items: &[T], path: &Path<'_>, report: &mut Report) {
    let mut seen = HashSet::with_capacity(items.len());
    if !items.iter().all(|item| seen.insert(item)) {
        report.add(path, "repeated.unique", "must have no duplicates".to_owned());
    }
}

pub(super) fn string_min_len(value: &str, n: usize, path: &Path<'_>, report: &mut Report) {
    if value.chars().count() < n {
        report.add(path, "string.min_len", format!("must have at least {n} characters"));
    }
}

pub(super) fn string_max_len(value: &str, n: usize, path: &Path<'_>, report: &mut Report) {
    if value.chars().count() > n {
        report.add(path, "string.max_len", format!("must have at most {n} characters"));
    }
}

pub(super) fn string_min_bytes(value: &str, n: usize, path: &Path<'_>, report: &mut Report) {
    if value.len() < n {
        report.add(path, "string.min_bytes", format!("must have at least {n} bytes"));
    }
}

pub(super) fn string_max_bytes(value: &str, n: usize, path: &Path<'_>, report: &mut Report) {
    if value.len() > n {
        report.add(path, "string.max_bytes", format!("must have at most {n} bytes, has {}", value.len()));
    }
}

/// Whether a field differs from its type's zero value, for `IGNORE_IF_ZERO_VALUE`.
pub(super) fn is_set<T: Default + PartialEq>(value: &T) -> bool {
    *value != T::default()
}

pub(super) fn string_contains(value: &str, part: &str, path: &Path<'_>, report: &mut Report) {
    if !value.contains(part) {
        report.add(path, "string.contains", format!("must contain {part:?}"));
    }
}

pub(super) fn string_not_contains(value: &str, part: &str, path: &Path<'_>, report: &mut Report) {
    if value.contains(part) {
        report.add(path, "string.not_contains", format!("must not contain {part:?}"));
    }
}

pub(super) fn string_uuid(value: &str, path: &Path<'_>, report: &mut Report) {
    let hyphen = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    let well_formed = value.len() == 36
        && value.bytes().enumerate().all(|(i, b)| if hyphen(i) { b == b'-' } else { b.is_ascii_hexdigit() });
    if value.is_empty() {
        report.add(path, "string.uuid_empty", "must be a UUID, is empty".to_owned());
    } else if !well_formed {
        report.add(path, "string.uuid", "must be a UUID such as 0190b2c4-7d1e-7abc-8def-0123456789ab".to_owned());
    }
}

/// A run of characters of one class.
pub(super) struct Run {
    pub(super) class: &'static [RangeInclusive<char>],
    pub(super) min: usize,
    pub(super) max: usize,
}

/// An anchored regular expression of runs. Only the last run may vary in length.
pub(super) struct Pattern {
    pub(super) source: &'static str,
    pub(super) runs: &'static [Run],
}

impl Pattern {
    fn matches(&self, value: &str) -> bool {
        let mut rest = value.chars().peekable();
        for run in self.runs {
            let mut taken = 0;
            while taken < run.max && rest.next_if(|c| run.class.iter().any(|range| range.contains(c))).is_some() {
                taken += 1;
            }
            if taken < run.min {
                return false;
            }
        }
        rest.next().is_none()
    }
}

pub(super) fn string_pattern(value: &str, pattern: &Pattern, path: &Path<'_>, report: &mut Report) {
    if !pattern.matches(value) {
        report.add(path, "string.pattern", format!("must match {}", pattern.source));
    }
}

// Numbers of all integer types are compared as i128.

pub(super) fn lte(value: i128, n: i128, rule: &'static str, path: &Path<'_>, report: &mut Report) {
    if value > n {
        report.add(path, rule, format!("must be at most {n}"));
    }
}

pub(super) fn gte(value: i128, n: i128, rule: &'static str, path: &Path<'_>, report: &mut Report) {
    if value < n {
        report.add(path, rule, format!("must be at least {n}"));
    }
}

pub(super) fn enum_defined_only(defined: bool, path: &Path<'_>, report: &mut Report) {
    if !defined {
        report.add(path, "enum.defined_only", "must be one of the contract's values".to_owned());
    }
}
