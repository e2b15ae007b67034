//! The error of a conversion: its kind, the place in the message, the byte offset, and the fix.
//!
//! The place is built while the error travels up, so that a conversion that succeeds pays nothing for it. Parts of the
//! input occur in an error shortened and escaped.

use std::fmt::{self, Write as _};

/// Why a conversion failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input is not JSON, or not UTF-8.
    Syntax,
    /// A value does not fit its field: another type, out of range, or in a wrong format.
    Value,
    /// A field, an enum value or the type of an `Any` that the descriptors do not contain.
    Unknown,
    /// A key occurs twice, or two members of a oneof occur.
    Duplicate,
    /// The input or the output is longer than the [`Limits`](crate::Limits) allow.
    TooLong,
    /// The input exceeds another of the [`Limits`](crate::Limits): its nesting, elements or digits.
    Limit,
    /// The bytes are not an encoded message.
    Wire,
    /// JSON has no form for a value of the message, such as a timestamp beyond the year 9999.
    Unrepresentable,
}

/// A conversion failed.
///
/// `Display` gives the place, the byte offset and the fix: `$.items[3].count: expected a 32-bit integer (byte 57)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message} (byte {offset})")]
pub struct TranscodeError {
    /// The kind of the problem.
    pub kind: ErrorKind,
    /// The place in the message as a JSON path: `$.items[3].labels["color"]`.
    pub path: String,
    /// The byte of the input at which the problem was found.
    pub offset: usize,
    /// The problem and its fix.
    pub message: String,
}

/// The result of a step of a conversion. The error is boxed, so that results stay small.
pub(crate) type Fallible<T> = Result<T, Box<Fault>>;

/// An error on its way up. Each level adds its step.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: ErrorKind,
    message: String,
    offset: usize,
    /// The steps from the place to the root.
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Index(usize),
    Key(String),
}

/// The steps of a path that an error lists; the outermost ones come first.
const SHOWN_STEPS: usize = 24;
/// The characters of a name or key from the input that an error lists.
const SHOWN_CHARACTERS: usize = 40;

impl Fault {
    pub(crate) fn new(kind: ErrorKind, offset: usize, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, message: message.into(), offset, steps: Vec::new() })
    }

    pub(crate) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.steps.push(Step::Field(shorten(name)));
        self
    }

    pub(crate) fn at_index(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.steps.push(Step::Index(index));
        self
    }

    pub(crate) fn at_key(mut self: Box<Self>, key: &str) -> Box<Self> {
        self.steps.push(Step::Key(shorten(key)));
        self
    }
}

impl From<Box<Fault>> for TranscodeError {
    fn from(fault: Box<Fault>) -> Self {
        let mut path = String::from("$");
        for step in fault.steps.iter().rev().take(SHOWN_STEPS) {
            // Writing to a string does not fail.
            let _ = match step {
                Step::Field(name) => write!(path, ".{name}"),
                Step::Index(index) => write!(path, "[{index}]"),
                Step::Key(key) => write!(path, "[\"{key}\"]"),
            };
        }
        if fault.steps.len() > SHOWN_STEPS {
            path.push('…');
        }
        Self { kind: fault.kind, path, offset: fault.offset, message: fault.message }
    }
}

/// The first characters of a text from the input, for an error: at most 40, with control characters and quotes escaped.
#[must_use]
pub fn shorten(text: &str) -> String {
    let mut short = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == SHOWN_CHARACTERS {
            short.push('…');
            break;
        }
        short.extend(character.escape_debug());
    }
    short
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "syntax",
            Self::Value => "value",
            Self::Unknown => "unknown",
            Self::Duplicate => "duplicate",
            Self::TooLong => "too long",
            Self::Limit => "limit",
            Self::Wire => "wire",
            Self::Unrepresentable => "unrepresentable",
        })
    }
}

/// Runs a conversion, and removes its output if it fails.
pub(crate) fn restore(
    out: &mut Vec<u8>,
    convert: impl FnOnce(&mut Vec<u8>) -> Fallible<()>,
) -> Result<(), TranscodeError> {
    let before = out.len();
    convert(out).map_err(|fault| {
        out.truncate(before);
        fault.into()
    })
}
