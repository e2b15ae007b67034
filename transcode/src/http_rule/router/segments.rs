//! The segments of a path.

use std::ops::Range;

use crate::http_rule::{
    percent::{self, Mode},
    template::MAX_SEGMENTS,
};

/// The maximum length of a path in bytes.
pub(super) const MAX_PATH: usize = 8192;

/// The positions of a path's segments. The last segment may end before the path, at a verb.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    starts: [u16; MAX_SEGMENTS],
    count: usize,
    end: usize,
}

/// Why a path has no segments to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmatchable {
    /// It is longer than [`MAX_PATH`], or has more than [`MAX_SEGMENTS`] segments.
    TooLong,
    /// It does not begin with `/`, or has an empty segment or a dot segment.
    Malformed,
}

impl Segments {
    pub(super) fn of(path: &str) -> Result<Self, Unmatchable> {
        if path.len() > MAX_PATH {
            return Err(Unmatchable::TooLong);
        }
        let Some(rest) = path.strip_prefix('/') else { return Err(Unmatchable::Malformed) };
        let mut segments = Self { starts: [0; MAX_SEGMENTS], count: 0, end: path.len() };
        if rest.is_empty() {
            return Ok(segments);
        }
        let mut start = 1;
        for segment in rest.split('/') {
            if segment.is_empty() || is_dot(segment) {
                return Err(Unmatchable::Malformed);
            }
            let slot = segments.starts.get_mut(segments.count).ok_or(Unmatchable::TooLong)?;
            *slot = u16::try_from(start).map_err(|_| Unmatchable::TooLong)?;
            segments.count += 1;
            start += segment.len() + 1;
        }
        Ok(segments)
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The segments without the last `bytes` bytes.
    pub(super) fn shortened(&self, bytes: usize) -> Self {
        Self { end: self.end - bytes, ..self.clone() }
    }

    /// The position of a run of segments in the path. An empty run has an empty range.
    pub(super) fn range(&self, segments: Range<usize>) -> Range<usize> {
        if segments.is_empty() || segments.end > self.count {
            return self.end..self.end;
        }
        let end = match self.starts[..self.count].get(segments.end) {
            Some(&next) => usize::from(next) - 1,
            None => self.end,
        };
        usize::from(self.starts[segments.start])..end
    }
}

/// Whether a segment is `.` or `..`, percent-encoded or not.
pub(super) fn is_dot(segment: &str) -> bool {
    segment.len() <= "%2e%2e".len()
        && segment.starts_with(['.', '%'])
        && percent::decode(segment, Mode::Segment).is_ok_and(|text| text == "." || text == "..")
}
