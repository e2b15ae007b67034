//! The parser of path templates.

use super::{MAX_SEGMENTS, Segment, Template, TemplateError, Variable};
use crate::http_rule::percent::{self, Mode};

/// The maximum length of a template in bytes.
const MAX_BYTES: usize = 2048;

pub(super) fn template(text: &str) -> Result<Template, TemplateError> {
    let mut parser = TemplateParser { text, at: 0, segments: Vec::new(), variables: Vec::new(), verb: None };
    if text.len() > MAX_BYTES {
        return parser.refuse(format!("the template is longer than {MAX_BYTES} bytes"));
    }
    if !parser.skip('/') {
        return parser.refuse("a template begins with `/`".into());
    }
    if !parser.rest().is_empty() {
        parser.segments(None)?;
    }
    let TemplateParser { segments, variables, verb, .. } = parser;
    Ok(Template { text: text.to_owned(), segments, variables, verb })
}

/// The state of parsing. The text before `at` is read.
struct TemplateParser<'a> {
    text: &'a str,
    at: usize,
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    verb: Option<String>,
}

impl<'a> TemplateParser<'a> {
    /// Reads segments to the end of the template, or to the `}` of the variable `within`.
    fn segments(&mut self, within: Option<&str>) -> Result<(), TemplateError> {
        loop {
            self.segment(within)?;
            if self.segments.len() > MAX_SEGMENTS {
                return self.refuse(format!("the template has more than {MAX_SEGMENTS} segments"));
            }
            match (self.rest().chars().next(), within) {
                (None, None) => return Ok(()),
                (Some('}'), Some(_)) => return Ok(()),
                (Some('/'), _) => self.at += 1,
                (Some(':'), None) => return self.verb(),
                (None, Some(name)) => return self.refuse(format!("the variable {name} has no `}}`")),
                (Some(_), _) => return self.refuse("a segment is a literal, `*`, `**` or one variable".into()),
            }
        }
    }

    fn segment(&mut self, within: Option<&str>) -> Result<(), TemplateError> {
        if self.segments.last() == Some(&Segment::Rest) {
            return self.refuse("no segment may follow `**`".into());
        }
        if self.skip('{') {
            return match within {
                None => self.variable(),
                Some(name) => self.refuse(format!("the variable {name} has a variable inside")),
            };
        }
        let segment = if self.skip_text("**") {
            Segment::Rest
        } else if self.skip('*') {
            Segment::Any
        } else {
            Segment::Literal(self.literal(within)?)
        };
        self.segments.push(segment);
        Ok(())
    }

    /// Reads a variable after its `{`.
    fn variable(&mut self) -> Result<(), TemplateError> {
        let start = self.segments.len();
        let name = self.until(&['=', '}', '/', '{']);
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !name.split('.').all(is_name) {
            return self.refuse(format!("`{name}` is not the name of a field"));
        }
        if self.variables.iter().any(|variable| variable.field == name) {
            return self.refuse(format!("the variable {name} occurs twice"));
        }
        if self.skip('=') {
            self.segments(Some(name))?;
        } else {
            self.segments.push(Segment::Any);
        }
        if !self.skip('}') {
            return self.refuse(format!("the variable {name} has no `}}`"));
        }
        let segments = start..self.segments.len();
        let takes_rest = self.segments.last() == Some(&Segment::Rest);
        self.variables.push(Variable { field: name.to_owned(), segments, takes_rest });
        Ok(())
    }

    /// Reads a literal. A `:` in the last segment of the template begins the verb.
    fn literal(&mut self, within: Option<&str>) -> Result<String, TemplateError> {
        let start = self.at;
        let mut text = self.until(&['/', '{', '}', '*', '=']);
        if within.is_none()
            && self.rest().is_empty()
            && let Some((literal, verb)) = text.rsplit_once(':')
        {
            self.at -= verb.len() + 1;
            text = literal;
        }
        if text.is_empty() {
            return self.refuse("a segment is empty: remove the `/` before it, or name the segment".into());
        }
        self.decoded(start, text)
    }

    /// Reads the verb with its `:`.
    fn verb(&mut self) -> Result<(), TemplateError> {
        let start = self.at + 1;
        let text = &self.text[start..];
        if text.is_empty() || text.contains(['/', '{', '}', '*', '=', ':']) {
            return self.refuse("a `:` is followed by a verb, which ends the template".into());
        }
        self.verb = Some(self.decoded(start, text)?);
        self.at = self.text.len();
        Ok(())
    }

    /// The value of a literal. Characters that no path has would make a template that never matches.
    fn decoded(&self, start: usize, text: &str) -> Result<String, TemplateError> {
        let refuse = |message: String| Err(TemplateError { message, at: start });
        if let Some(odd) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._~!$&'()+,;:@%".contains(*c))) {
            return refuse(format!("`{text}` has the character {odd:?}, which a path has only percent-encoded"));
        }
        match percent::decode(text, Mode::Segment) {
            Ok(literal) if literal == "." || literal == ".." => {
                refuse(format!("`{text}` is a dot segment, which clients remove"))
            }
            Ok(literal) => Ok(literal.into_owned()),
            Err(malformed) => refuse(format!("`{text}`: {malformed}")),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Reads up to one of `ends`, or to the end.
    fn until(&mut self, ends: &[char]) -> &'a str {
        let rest = self.rest();
        let text = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += text.len();
        text
    }

    fn skip(&mut self, expected: char) -> bool {
        self.skip_text(expected.encode_utf8(&mut [0; 4]))
    }

    fn skip_text(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        self.at += if found { expected.len() } else { 0 };
        found
    }

    fn refuse<T>(&self, message: String) -> Result<T, TemplateError> {
        Err(TemplateError { message, at: self.at })
    }
}
