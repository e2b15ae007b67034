//! The text of a response as it grows, within the budget of the operation.

use async_graphql::{Error, PathSegment, Pos};

use crate::{
    budget::{Budget, Exceeded, Share},
    reply::Reply,
};

/// How many bytes are held of the budget at once.
const CHUNK: usize = 4 * 1024;
/// The size of a part of the text: a text that grows as a whole takes twice its memory while it is moved.
const PART: usize = 256 * 1024;

/// See the module.
pub(crate) struct Output {
    /// The text before `json`, in parts.
    parts: Vec<Vec<u8>>,
    json: Vec<u8>,
    /// The errors of fields, separated by commas.
    errors: Vec<u8>,
    /// The bytes that are held but not yet written.
    ahead: usize,
    share: Share,
}

/// A step to the place of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Output {
    pub(crate) fn begin(budget: &Budget) -> Result<Self, Exceeded> {
        let mut output =
            Self { parts: Vec::new(), json: Vec::new(), errors: Vec::new(), ahead: 0, share: budget.share() };
        output.push("{\"data\":{")?;
        Ok(output)
    }

    /// Ends the data, and adds the errors.
    pub(crate) fn end(mut self) -> Result<Reply, Exceeded> {
        self.push("}")?;
        if !self.errors.is_empty() {
            self.push(",\"errors\":[")?;
            // The budget has counted them.
            self.json.append(&mut self.errors);
            self.push("]")?;
        }
        self.push("}")?;
        if self.parts.is_empty() {
            return Ok(Reply { json: self.json, is_refused: false });
        }
        // What the calls have returned is no longer held.
        self.parts.push(self.json);
        Ok(Reply { json: self.parts.concat(), is_refused: false })
    }

    pub(crate) fn push(&mut self, text: &str) -> Result<(), Exceeded> {
        self.hold(text.len())?;
        if self.json.len() >= PART || text.len() >= PART {
            self.parts.push(std::mem::take(&mut self.json));
        }
        self.json.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Adds the error of a field.
    pub(crate) fn fail(&mut self, error: Error, path: &[Step<'_>], pos: Pos) -> Result<(), Exceeded> {
        let mut error = error.into_server_error(pos);
        let segment = |step: &Step<'_>| match step {
            Step::Key(key) => PathSegment::Field((*key).to_owned()),
            Step::Index(index) => PathSegment::Index(*index),
        };
        error.path = path.iter().map(segment).collect();
        let json = serde_json::to_vec(&error).unwrap_or_else(|_| b"{\"message\":\"an unknown error\"}".to_vec());
        self.hold(json.len() + 1)?;
        if !self.errors.is_empty() {
            self.errors.push(b',');
        }
        self.errors.extend_from_slice(&json);
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Exceeded> {
        if bytes > self.ahead {
            let more = bytes - self.ahead;
            let held = if self.share.hold(more + CHUNK).is_ok() { more + CHUNK } else { more };
            if held == more {
                self.share.hold(more)?;
            }
            self.ahead += held;
        }
        self.ahead -= bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_errors_share_the_budget() {
        let budget = Budget::new(200);
        let mut output = Output::begin(&budget).unwrap();
        output.push("\"a\":null").unwrap();
        let pos = Pos { line: 1, column: 2 };
        output.fail(Error::new("no"), &[Step::Key("a"), Step::Index(3)], pos).unwrap();
        assert!(output.push(&"x".repeat(150)).is_err());
        let json = String::from_utf8(output.end().unwrap().json).unwrap();
        assert_eq!(
            json,
            r#"{"data":{"a":null},"errors":[{"message":"no","locations":[{"line":1,"column":2}],"path":["a",3]}]}"#
        );
        assert_eq!(budget.left(), 200);
        assert!(Output::begin(&Budget::new(8)).is_err());
    }
}
