//! Strings.

use super::{Case, Message, ParseError, Recommended, Required};

pub(super) const CASES: &[Case] = &[
    (Required, "StringField", Message(r#"{"optionalString": "Hello world!"}"#, r#"optional_string: "Hello world!""#)),
    (Required, "StringFieldUnicode", Message(r#"{"optionalString": "谷歌"}"#, r#"optional_string: "谷歌""#)),
    (
        Required,
        "StringFieldEscape",
        Message(r#"{"optionalString": "\"\\\/\b\f\n\r\t"}"#, r#"optional_string: "\"\\/\b\f\n\r\t""#),
    ),
    (
        Required,
        "StringFieldUnicodeEscape",
        Message(r#"{"optionalString": "\u8C37\u6B4C"}"#, r#"optional_string: "谷歌""#),
    ),
    (
        Required,
        "StringFieldUnicodeEscapeWithLowercaseHexLetters",
        Message(r#"{"optionalString": "\u8c37\u6b4c"}"#, r#"optional_string: "谷歌""#),
    ),
    (
        Required,
        "StringFieldSurrogatePair",
        Message(r#"{"optionalString": "\uD83D\uDE01"}"#, r#"optional_string: "\xF0\x9F\x98\x81""#),
    ),
    (
        Required,
        "StringFieldEmbeddedNull",
        Message(r#"{"optionalString": "Hello\u0000world!"}"#, r#"optional_string: "Hello\000world!""#),
    ),
    (Recommended, "StringFieldUppercaseEscapeLetter", ParseError(r#"{"optionalString": "\U8C37\U6B4C"}"#)),
    (Recommended, "StringFieldInvalidEscape", ParseError(r#"{"optionalString": "\uXXXX\u6B4C"}"#)),
    (Recommended, "StringFieldUnterminatedEscape", ParseError(r#"{"optionalString": "\u8C3"}"#)),
    (Recommended, "StringFieldUnpairedHighSurrogate", ParseError(r#"{"optionalString": "\uD800"}"#)),
    (Recommended, "StringFieldUnpairedLowSurrogate", ParseError(r#"{"optionalString": "\uDC00"}"#)),
    (Recommended, "StringFieldSurrogateInWrongOrder", ParseError(r#"{"optionalString": "\uDE01\uD83D"}"#)),
    (Required, "StringFieldNotAString", ParseError(r#"{"optionalString": 12345}"#)),
    (Recommended, "StringFieldSingleQuoteKey", ParseError(r#"{'optionalString': "Hello world!"}"#)),
    (Recommended, "StringFieldSingleQuoteValue", ParseError(r#"{"optionalString": 'Hello world!'}"#)),
    (Recommended, "StringFieldSingleQuoteBoth", ParseError(r#"{'optionalString': 'Hello world!'}"#)),
];
