//! The tokens of a filter.

use std::{fmt, iter::Peekable, str::Chars};

use super::{Comparison, FilterError};

/// A token and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// In characters from 1.
    pub(super) at: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A field, or a value without quotes.
    Word(String),
    /// A value in quotes.
    Text(String),
    Comparison(Comparison),
    And,
    Or,
    Not,
    Open,
    Close,
    End,
}

/// The token in an error.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.kind {
            TokenKind::Word(word) => word,
            TokenKind::Text(_) => "a text in quotes",
            TokenKind::Comparison(comparison) => comparison.as_str(),
            TokenKind::And => "AND",
            TokenKind::Or => "OR",
            TokenKind::Not => "NOT",
            TokenKind::Open => "(",
            TokenKind::Close => ")",
            TokenKind::End => "the end",
        })
    }
}

pub(super) struct Tokens<'a> {
    chars: Peekable<Chars<'a>>,
    /// The position of the next character.
    at: usize,
    next: Option<Token>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { chars: text.chars().peekable(), at: 1, next: None }
    }

    pub(super) fn peek(&mut self) -> Result<Token, FilterError> {
        let token = match self.next.take() {
            Some(token) => token,
            None => self.read()?,
        };
        Ok(self.next.insert(token).clone())
    }

    pub(super) fn next(&mut self) -> Result<Token, FilterError> {
        match self.next.take() {
            Some(token) => Ok(token),
            None => self.read(),
        }
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.at += usize::from(next.is_some());
        next
    }

    /// Consumes `wanted` if it is the next character.
    fn bump_if(&mut self, wanted: char) -> bool {
        let is_next = self.chars.peek() == Some(&wanted);
        if is_next {
            self.bump();
        }
        is_next
    }

    fn read(&mut self) -> Result<Token, FilterError> {
        while self.chars.peek().is_some_and(|c| c.is_whitespace()) {
            self.bump();
        }
        let at = self.at;
        let Some(first) = self.bump() else { return Ok(Token { kind: TokenKind::End, at }) };
        let kind = match first {
            '(' => TokenKind::Open,
            ')' => TokenKind::Close,
            '=' => TokenKind::Comparison(Comparison::Equal),
            ':' => TokenKind::Comparison(Comparison::Has),
            '<' if self.bump_if('=') => TokenKind::Comparison(Comparison::AtMost),
            '<' => TokenKind::Comparison(Comparison::Less),
            '>' if self.bump_if('=') => TokenKind::Comparison(Comparison::AtLeast),
            '>' => TokenKind::Comparison(Comparison::Greater),
            '!' if self.bump_if('=') => TokenKind::Comparison(Comparison::NotEqual),
            '-' if self.chars.peek().is_some_and(|c| c.is_alphabetic() || *c == '(') => TokenKind::Not,
            '"' | '\'' => TokenKind::Text(self.text(first, at)?),
            first if is_of_word(first) => self.word(first),
            other => return Err(FilterError::new(at, format!("{other:?} has no meaning here; put texts in quotes"))),
        };
        Ok(Token { kind, at })
    }

    /// The rest of a text in quotes. A backslash takes the next character as it is.
    fn text(&mut self, quote: char, at: usize) -> Result<String, FilterError> {
        let mut text = String::new();
        loop {
            match self.bump() {
                Some(end) if end == quote => return Ok(text),
                Some('\\') => text.extend(self.bump()),
                Some(other) => text.push(other),
                None => return Err(FilterError::new(at, format!("the text has no end: a {quote} is missing"))),
            }
        }
    }

    fn word(&mut self, first: char) -> TokenKind {
        let mut word = String::from(first);
        while self.chars.peek().is_some_and(|c| is_of_word(*c)) {
            word.extend(self.bump());
        }
        match word.as_str() {
            "AND" => TokenKind::And,
            "OR" => TokenKind::Or,
            "NOT" => TokenKind::Not,
            _ => TokenKind::Word(word),
        }
    }
}

/// Whether a word without quotes may contain the character: names, numbers, UUIDs, and `*`.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '+' | '*' | '/' | '@')
}
