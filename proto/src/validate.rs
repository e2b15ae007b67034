//! Implements the buf.validate rules that the contracts use. `build/checks.rs` generates one [`Check`] for each input
//! message; the tests compare the results with Buf's implementation.

mod rules;
mod text;

pub use text::BLANK;

use std::fmt;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use rules::{Pattern, Run};

/// A violation of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request: `member_ids[3]`.
    pub field: String,
    /// The standard id of the rule: `string.min_len`.
    pub rule: &'static str,
    /// How to fix the value.
    pub message: String,
}

/// An input message with rules.
pub trait Check {
    /// Adds a violation for each broken rule to `report`; `path` is the position of this message.
    fn check(&self, path: &Path<'_>, report: &mut Report);
}

/// Returns all violations in `message`.
pub fn violations(message: &impl Check) -> Vec<Violation> {
    let mut report = Report::default();
    message.check(&Path::Root, &mut report);
    report.0
}

/// The maximum number of violations in one response, because trailers are bounded.
const MOST_REPORTED: usize = 20;

/// Returns INVALID_ARGUMENT with `google.rpc.BadRequest`: each field and how to fix it.
pub fn refusal(violations: &[Violation]) -> Status {
    let fields = violations
        .iter()
        .take(MOST_REPORTED)
        .map(|v| FieldViolation::new(v.field.as_str(), v.message.as_str()))
        .collect::<Vec<_>>();
    let summary = violations.first().map_or(String::new(), |v| format!("{}: {}", v.field, v.message));
    Status::with_error_details(Code::InvalidArgument, summary, ErrorDetails::with_bad_request(fields))
}

/// The violations found so far.
#[derive(Default)]
pub struct Report(Vec<Violation>);

impl Report {
    fn add(&mut self, path: &Path<'_>, rule: &'static str, message: String) {
        self.0.push(Violation { field: path.to_string(), rule, message });
    }
}

/// A position in the request; formatted only when a rule is broken.
pub enum Path<'a> {
    /// The request itself.
    Root,
    /// A field of a message.
    Field(&'a Path<'a>, &'static str),
    /// An element of a list.
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn field(&self, name: &'static str) -> Path<'_> {
        Path::Field(self, name)
    }

    fn item(&self, index: usize) -> Path<'_> {
        Path::Item(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn check_bytes<T: prost::Message + Check + Default>(bytes: &[u8]) -> Result<Vec<Violation>, prost::DecodeError> {
    T::decode(bytes).map(|message| violations(&message))
}

include!(concat!(env!("OUT_DIR"), "/checks.rs"));
