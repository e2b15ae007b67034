//! The lines of a file: JSON, one object in each line, or CSV with a line of names.

use std::io::{BufRead, Read as _};

use csv::{Position, StringRecord};
use serde_json::{Map, Value};

use super::{
    ImportError,
    account::{FIELDS, Record},
};

/// The longest line of JSON.
const LONGEST: u64 = 64 << 10;

/// A field and the reason why it was refused.
pub(super) type Refused = (&'static str, String);

/// The number of a line, and its account.
type Numbered = (u64, Result<Record, Refused>);

/// The lines of a file.
pub(super) enum Lines<R> {
    Json {
        file: R,
        line: u64,
    },
    /// The parser counts a line of CRLF when it has read the next one: `late` is 1 in such a file.
    Csv {
        reader: Box<csv::Reader<R>>,
        names: StringRecord,
        late: u64,
    },
}

impl<R: BufRead> Lines<R> {
    /// JSON begins with a brace.
    pub(super) fn open(mut file: R) -> Result<Self, ImportError> {
        let begin = file.fill_buf()?;
        let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin);
        if begin.trim_ascii_start().first() == Some(&b'{') {
            return Ok(Self::Json { file, line: 0 });
        }
        let late = u64::from(
            begin
                .iter()
                .position(|byte| *byte == b'\n')
                .is_some_and(|at| begin.get(..at).is_some_and(|line| line.ends_with(b"\r"))),
        );
        let mut reader = Box::new(csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(file));
        let names = reader.headers().map_err(|error| ImportError::Format(format!("is not CSV: {error}")))?.clone();
        let names_of = |name: &str| names.iter().filter(|each| *each == name).count();
        // The names are not printed: without a line of names they are values.
        if let Some(at) = names.iter().position(|name| !FIELDS.contains(&name)) {
            let (column, known) = (at + 1, FIELDS.join(", "));
            return Err(ImportError::Format(format!("line 1: column {column} has an unknown name; known are {known}")));
        }
        if let Some(twice) = FIELDS.into_iter().find(|name| names_of(name) > 1) {
            return Err(ImportError::Format(format!("line 1: the column {twice} is there twice")));
        }
        if names_of("email") == 0 || names_of("hash") == 0 {
            return Err(ImportError::Format("line 1: the columns email and hash are required".to_owned()));
        }
        Ok(Self::Csv { reader, names, late })
    }

    /// The number and the content of the next line that is not empty.
    pub(super) fn next(&mut self) -> Result<Option<Numbered>, ImportError> {
        match self {
            Self::Json { file, line } => Ok(next_json(file, line)?),
            Self::Csv { reader, names, late } => {
                let found = next_csv(reader, names)?;
                Ok(found.map(|(line, record)| (line + *late, record)))
            }
        }
    }
}

fn next_json(file: &mut impl BufRead, line: &mut u64) -> std::io::Result<Option<Numbered>> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        *line += 1;
        if file.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        if bytes.len() as u64 == LONGEST && !bytes.ends_with(b"\n") {
            skip_line(file)?;
            return Ok(Some((*line, Err(("", format!("has more than {LONGEST} bytes"))))));
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).trim_ascii();
        if !text.is_empty() {
            return Ok(Some((*line, json_record(text))));
        }
    }
}

/// The record of a line. The text of serde's errors may have values of the line, so it is not used.
fn json_record(text: &[u8]) -> Result<Record, Refused> {
    serde_json::from_slice(text).map_err(|error| match serde_json::from_slice::<Map<String, Value>>(text) {
        Ok(fields) => mistake(&fields),
        Err(_) => ("", format!("is not a JSON object; the mistake is in column {}", error.column())),
    })
}

/// The field that a record of these fields cannot have.
fn mistake(fields: &Map<String, Value>) -> Refused {
    if fields.keys().any(|name| !FIELDS.contains(&name.as_str())) {
        return ("", format!("has an unknown field; known are {}", FIELDS.join(", ")));
    }
    for name in FIELDS {
        match (name, fields.get(name)) {
            ("email" | "hash", None) => return (name, "is missing".to_owned()),
            ("email" | "hash", Some(Value::Null)) => return (name, "must be text".to_owned()),
            (_, None | Some(Value::Null)) | ("verified", Some(Value::Bool(_))) => {}
            ("verified", Some(_)) => return (name, "must be true or false".to_owned()),
            (_, Some(Value::String(_))) => {}
            (_, Some(_)) => return (name, "must be text".to_owned()),
        }
    }
    ("", "has a field twice".to_owned())
}

fn skip_line(file: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        let (read, is_end) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        file.consume(read);
        if is_end {
            return Ok(());
        }
    }
}

fn next_csv<R: BufRead>(reader: &mut csv::Reader<R>, names: &StringRecord) -> Result<Option<Numbered>, ImportError> {
    let mut found = StringRecord::new();
    let begin = reader.position().clone();
    match reader.read_record(&mut found) {
        Ok(false) => Ok(None),
        Ok(true) => {
            let line = found.position().map_or(begin.line(), Position::line);
            // All other fields are text.
            let record = found.deserialize(Some(names));
            Ok(Some((line, record.map_err(|_| ("verified", "must be true or false".to_owned())))))
        }
        Err(error) => match error.kind() {
            csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                let line = pos.as_ref().map_or(begin.line(), Position::line);
                Ok(Some((line, Err(("", format!("has {len} fields instead of {expected_len}"))))))
            }
            csv::ErrorKind::Utf8 { pos, .. } => {
                let line = pos.as_ref().map_or(begin.line(), Position::line);
                Ok(Some((line, Err(("", "is not UTF-8".to_owned())))))
            }
            _ => Err(ImportError::Unreadable(std::io::Error::other(error))),
        },
    }
}
