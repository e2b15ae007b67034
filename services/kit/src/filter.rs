//! Parses filters of lists ([AIP-160](https://google.aip.dev/160)): `principal = "u1" AND (code = OK OR calls > 1)`.
//!
//! As the AIP states, `OR` binds more tightly than `AND`, and two restrictions beside each other are joined by `AND`. A
//! restriction names a field, a comparison and a value. Values without a field, functions and fields of fields on the
//! right side are errors. A list decides which fields and comparisons it supports. Length, depth and the number of
//! restrictions are bounded, so that a filter costs its size.

mod tokens;

use std::fmt;

use tokens::{Token, TokenKind, Tokens};

/// The most bytes of a filter.
pub const MOST_BYTES: usize = 4_096;
/// The deepest nesting of parentheses and negations.
const MOST_DEPTH: usize = 16;
/// The most restrictions of a filter.
const MOST_RESTRICTIONS: usize = 64;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All of them match.
    And(Vec<Self>),
    /// At least one of them matches.
    Or(Vec<Self>),
    /// It does not match.
    Not(Box<Self>),
    /// The comparison of a field with a value.
    Restriction(Restriction),
}

/// The comparison of a field with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// The field, with the path to it: `create_time`, `custom.size`.
    pub field: String,
    /// The comparison.
    pub comparison: Comparison,
    /// The value.
    pub value: String,
    /// Whether the value is in quotes: then `*` at its end is a wildcard, and words have no meaning.
    pub is_quoted: bool,
    /// Where the field begins, in characters from 1.
    pub field_at: usize,
    /// Where the value begins, in characters from 1.
    pub value_at: usize,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
    /// `:`, the field has the value.
    Has,
}

impl Comparison {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
            Self::Has => ":",
        }
    }
}

/// Why a filter is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    /// The position in characters from 1.
    pub at: usize,
    /// The defect, and the expected text.
    pub message: String,
}

impl FilterError {
    /// An error at a position in characters from 1.
    pub fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {}: {}", self.at, self.message)
    }
}

impl std::error::Error for FilterError {}

impl Filter {
    /// Parses a filter. `None`: it is empty, and everything matches.
    pub fn parse(text: &str) -> Result<Option<Self>, FilterError> {
        if text.len() > MOST_BYTES {
            return Err(FilterError::new(1, format!("the filter has {} bytes; at most {MOST_BYTES}", text.len())));
        }
        let mut parser = Parser { tokens: Tokens::new(text), restrictions: 0 };
        if parser.tokens.peek()?.kind == TokenKind::End {
            return Ok(None);
        }
        let filter = parser.expression(0)?;
        let rest = parser.tokens.next()?;
        match rest.kind {
            TokenKind::End => Ok(Some(filter)),
            _ => Err(FilterError::new(rest.at, "there is no ( for this )")),
        }
    }
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    restrictions: usize,
}

impl Parser<'_> {
    /// Factors, joined by `AND` or by nothing.
    fn expression(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut all = vec![self.factor(depth)?];
        loop {
            let next = self.tokens.peek()?;
            match next.kind {
                TokenKind::End | TokenKind::Close => return Ok(joined(all, Filter::And)),
                TokenKind::And => drop(self.tokens.next()?),
                _ => {}
            }
            all.push(self.factor(depth)?);
        }
    }

    /// Terms, joined by `OR`.
    fn factor(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut any = vec![self.term(depth)?];
        while self.tokens.peek()?.kind == TokenKind::Or {
            self.tokens.next()?;
            any.push(self.term(depth)?);
        }
        Ok(joined(any, Filter::Or))
    }

    fn term(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let token = self.tokens.next()?;
        if depth >= MOST_DEPTH {
            return Err(FilterError::new(token.at, format!("the filter is nested more than {MOST_DEPTH} deep")));
        }
        match token.kind {
            TokenKind::Not => Ok(Filter::Not(Box::new(self.term(depth + 1)?))),
            TokenKind::Open => {
                let inner = self.expression(depth + 1)?;
                let end = self.tokens.next()?;
                if end.kind == TokenKind::Close { Ok(inner) } else { Err(FilterError::new(end.at, "a ) is missing")) }
            }
            TokenKind::Word(field) => self.restriction(field, token.at).map(Filter::Restriction),
            _ => Err(FilterError::new(token.at, format!("a field is expected instead of {token}"))),
        }
    }

    fn restriction(&mut self, field: String, field_at: usize) -> Result<Restriction, FilterError> {
        self.restrictions += 1;
        if self.restrictions > MOST_RESTRICTIONS {
            return Err(FilterError::new(
                field_at,
                format!("the filter has more than {MOST_RESTRICTIONS} restrictions"),
            ));
        }
        let Token { kind: TokenKind::Comparison(comparison), .. } = self.tokens.peek()? else {
            let at = self.tokens.peek()?.at;
            return Err(FilterError::new(at, format!("a comparison such as = is expected after {field}")));
        };
        self.tokens.next()?;
        let value = self.tokens.next()?;
        let (value_at, is_quoted) = (value.at, matches!(value.kind, TokenKind::Text(_)));
        match value.kind {
            TokenKind::Word(value) | TokenKind::Text(value) => {
                Ok(Restriction { field, comparison, value, is_quoted, field_at, value_at })
            }
            _ => Err(FilterError::new(value_at, format!("a value is expected instead of {value}"))),
        }
    }
}

fn joined(mut parts: Vec<Filter>, join: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

#[cfg(test)]
mod tests;
