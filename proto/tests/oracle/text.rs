//! Tests the rules for text that people read: which text they admit, and that the expressions in the contract and the
//! Unicode properties in the code give the same result for every character.

use std::collections::BTreeSet;

use icu_properties::{CodePointMapData, props::GeneralCategory};
use prost_reflect::{DescriptorPool, Value};
use proto::{
    messaging::v1::SendMessageRequest,
    users::v1::CreateUserRequest,
    validate::{Violation, violations},
};
use regex::Regex;

fn line(text: &str) -> Vec<Violation> {
    let request = CreateUserRequest {
        user_id: "0190b2c4-7d1e-7abc-8def-0123456789ab".to_owned(),
        handle: "ada".to_owned(),
        display_name: text.to_owned(),
        attempt: 0,
    };
    violations(&request)
}

fn lines(text: &str) -> Vec<Violation> {
    let id = "0190b2c4-7d1e-7abc-8def-0123456789ab".to_owned();
    let request = SendMessageRequest { conversation_id: id.clone(), client_message_id: id, text: text.to_owned() };
    violations(&request)
}

/// The last parts of the broken rules' ids: `hidden` of `string.single_line.hidden`.
fn broken(violations: &[Violation]) -> String {
    let rules: Vec<_> = violations.iter().map(|v| v.rule.rsplit('.').next().unwrap_or_default()).collect();
    rules.join(" ")
}

#[test]
fn names_of_all_scripts_and_emoji_are_accepted() {
    for name in [
        "Ada Lovelace",
        "Grüße",
        "e\u{301}",
        "مى\u{200c}خواهم",
        "יוסי (C++)\u{200e}",
        "न\u{94d}\u{200d}य",
        "ᠮᠣᠩᠭᠣᠯ\u{180e}ᠠ",
        "👩\u{1f3fd}\u{200d}🚀",
        "🏳\u{fe0f}\u{200d}🌈",
        "❤\u{fe0f}\u{200d}🔥",
        "1\u{fe0f}\u{20e3}",
        "🇩🇪",
        "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
        "葛\u{e0100}城",
        "\u{600}\u{661}",
        "newer emoji \u{1fb00}",
        "\u{378}",
    ] {
        assert_eq!(line(name), [], "{name:?}");
        assert_eq!(lines(name), [], "{name:?}");
    }
}

#[test]
fn names_that_hide_or_reorder_text_are_refused() {
    for (name, rules) in [
        ("\u{200b}", "hidden visible"),
        ("Ad\u{200b}a", "hidden"),
        ("Ad\u{ad}a", "hidden"),
        ("\u{feff}Ada", "hidden"),
        ("Ad\u{200d}\u{200d}a", "hidden"),
        ("Ada \u{200d}", "hidden"),
        ("Ada\u{fe0f}\u{fe0f}", "hidden"),
        ("Ada\u{200f}\u{200f}", "hidden"),
        ("Ada\u{e0041}", "hidden"),
        ("🏴\u{e0067}\u{e0062}", "hidden"),
        ("🏴\u{e007f}", "hidden"),
        ("\u{3164}", "hidden visible"),
        ("\u{115f}\u{1160}", "hidden visible"),
        ("\u{2800}", "visible"),
        ("\u{e000}", "visible"),
        ("\u{202e}adA", "reorder"),
        ("Ada\u{2066}", "reorder"),
        ("Ada\nBob", "control"),
        ("Ada\u{2028}Bob", "control"),
        ("Ada\u{0}", "control"),
        (" Ada", "edge"),
        ("Ada\u{3000}", "edge"),
        ("\u{301}Ada", "edge"),
        ("  ", "edge visible"),
        ("\u{301}", "edge visible"),
    ] {
        assert_eq!(broken(&line(name)), rules, "{name:?}");
    }
}

#[test]
fn messages_may_contain_more_than_names_and_are_visible() {
    for text in ["Hello\n\n\tAda\r\n", " Ada ", "ខ្ញុំ\u{200b}ស្រលាញ់", "Donau\u{ad}dampf", "\u{200f}שלום", "."]
    {
        assert_eq!(lines(text), [], "{text:?}");
    }
    for (text, rules) in [
        (" \n\t", "visible"),
        ("\u{200b}\u{200d}", "visible"),
        ("\u{3164}\u{2800}", "visible"),
        ("a\u{202d}b", "reorder"),
        ("a\u{202c}b", "reorder"),
        ("a\u{2067}b\u{2069}", "reorder"),
        ("a\u{0}b", "control"),
        ("a\u{1b}[31mb", "control"),
        ("a\u{e0068}\u{e0069}", "hidden"),
        ("🏴\u{e0067}\u{e0067}\u{e0067}\u{e0067}\u{e0067}\u{e0067}\u{e0067}\u{e007f}", "hidden"),
    ] {
        assert_eq!(broken(&lines(text)), rules, "{text:?}");
    }
}

#[test]
fn violation_names_the_character_and_the_fix() {
    let found = line("\u{202e}adA");
    let message = "must not contain characters that reorder text (U+202E); remove it";
    assert_eq!((found[0].field.as_str(), found[0].message.as_str()), ("display_name", message));
    assert_eq!(line("\u{2800}")[0].message, "must not be invisible: add a letter, a digit or a symbol");
}

/// One expression of the contract.
struct Expression {
    id: String,
    message: String,
    pattern: Regex,
    /// Whether a match satisfies the rule. Otherwise a match breaks it.
    accepts: bool,
}

impl Expression {
    fn is_broken_by(&self, text: &str) -> bool {
        self.pattern.is_match(text) != self.accepts
    }
}

/// The expressions of a rule in the contract.
fn expressions(rule: &str) -> Vec<Expression> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let extension = pool.get_extension_by_name(&format!("trellis.text.v1.{rule}")).unwrap();
    let (options, predefined) = (extension.options(), pool.get_extension_by_name("buf.validate.predefined").unwrap());
    let rules = options.get_extension(&predefined);
    let rules = rules.as_message().unwrap().get_field_by_name("cel").unwrap().into_owned();
    rules.as_list().unwrap().iter().map(expression).collect()
}

fn expression(rule: &Value) -> Expression {
    let text = |name| rule.as_message().unwrap().get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
    let source = text("expression");
    let body = source.strip_prefix("!rule || ").unwrap();
    let body = body.strip_prefix("this == '' || ").unwrap_or(body);
    let (accepts, body) = body.strip_prefix('!').map_or((true, body), |body| (false, body));
    let quoted = body.strip_prefix("this.matches('").and_then(|body| body.strip_suffix("')")).unwrap();
    let pattern = Regex::new(&unescaped(quoted)).unwrap_or_else(|e| panic!("{source}: {e}"));
    Expression { id: text("id"), message: text("message"), pattern, accepts }
}

/// The value of a CEL string literal. Pattern metacharacters are never escaped here.
fn unescaped(literal: &str) -> String {
    let (mut value, mut rest) = (String::new(), literal);
    while let Some((before, escape)) = rest.split_once('\\') {
        value.push_str(before);
        let digits = match escape.as_bytes()[0] {
            b'u' => 4,
            b'U' => 8,
            b'\\' => 0,
            other => panic!("unknown escape {}", char::from(other)),
        };
        let code = if digits == 0 { u32::from('\\') } else { u32::from_str_radix(&escape[1..=digits], 16).unwrap() };
        value.push(char::from_u32(code).unwrap());
        rest = &escape[1 + digits..];
    }
    value + rest
}

/// Whether `c` is assigned in the Unicode version of the code, and not in the older one of the tests' patterns.
fn is_newer(c: char, unassigned: &Regex) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    category != GeneralCategory::Unassigned && unassigned.is_match(c.encode_utf8(&mut [0; 4]))
}

/// Compares both implementations for every character that a property concerns, alone and between others.
fn same_verdicts(rule: &str, verdict: fn(&str) -> Vec<Violation>) {
    let expressions = expressions(rule);
    assert!(expressions.len() >= 4);
    let unassigned = Regex::new(r"\p{Cn}").unwrap();
    let all = (0..0x2_0000_u32).chain(0xe_0000..0xe_2000).filter_map(char::from_u32);
    for c in all.filter(|c| !is_newer(*c, &unassigned)) {
        for text in [c.to_string(), format!("a{c}b"), format!("a{c}{c}b")] {
            let ours: Vec<Violation> = verdict(&text);
            let ours: BTreeSet<_> = ours.iter().map(|v| v.rule).collect();
            let theirs: BTreeSet<_> =
                expressions.iter().filter(|e| e.is_broken_by(&text)).map(|e| e.id.as_str()).collect();
            assert_eq!(ours, theirs, "{text:?}, whose character is U+{:04X}", u32::from(c));
        }
    }
}

#[test]
fn every_character_of_a_line_matches_the_contract() {
    same_verdicts("single_line", line);
}

#[test]
fn every_character_of_lines_matches_the_contract() {
    same_verdicts("multi_line", lines);
}

#[test]
fn violations_use_the_messages_of_the_contract() {
    let samples = ["\u{200b}", "\u{202e}", "\u{0}", " ", "\u{e0041}"];
    for (rule, verdict) in [("single_line", line as fn(&str) -> _), ("multi_line", lines)] {
        let violations: Vec<Violation> = samples.iter().flat_map(|text| verdict(text)).collect();
        for expression in expressions(rule) {
            let ours =
                violations.iter().find(|v| v.rule == expression.id).unwrap_or_else(|| panic!("{}", expression.id));
            assert!(ours.message.starts_with(&expression.message), "{ours:?}");
        }
    }
}
