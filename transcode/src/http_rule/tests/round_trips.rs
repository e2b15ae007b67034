//! A path that is made from a template and values gives the values back.

use std::ops::Range;

use super::{random::Random, *};
use crate::http_rule::{
    percent::{self, Mode},
    router::Router,
    template::{Segment, Variable},
};

impl Random {
    /// A value of one segment, with characters that need care.
    fn value(&mut self) -> String {
        let characters =
            ['a', 'Z', '0', '-', '.', '_', '~', '/', '%', ':', '+', ' ', '?', '#', '&', '=', '\0', 'é', '€', '😀'];
        let length = 1 + self.below(6);
        let value: String = (0..length).map(|_| self.of(&characters)).collect();
        // No path has a dot segment, and `%2F` in a value of several segments is not reversible.
        if value.chars().all(|c| c == '.') { "dots".into() } else { value.replace("%2", "%3") }
    }

    /// A template with variables `a`, `b`, …, and the text of its segments.
    fn template(&mut self) -> String {
        let mut text = String::new();
        let count = 1 + self.below(6);
        for at in 0..count {
            let name = char::from(b'a' + at as u8);
            let is_last = at + 1 == count;
            text += &match self.below(if is_last { 8 } else { 6 }) {
                0 | 1 => format!("/{}", self.of(&["v1", "users", "x.y", "%C3%A9"])),
                2 => "/*".to_owned(),
                3 => format!("/{{{name}}}"),
                4 => format!("/{{{name}=users/*}}"),
                5 => format!("/{{{name}=*/x/*}}"),
                6 => format!("/{{{name}=users/**}}"),
                _ => format!("/{{{name}=**}}"),
            };
        }
        if self.below(3) == 0 { text + self.of(&[":run", ":a"]) } else { text }
    }
}

/// A path of a template with random values: the path, and the value of each variable.
fn expand(template: &Template, random: &mut Random) -> (String, Vec<String>) {
    // The decoded values of each segment of the template. `**` has several.
    let segments: Vec<Vec<String>> = template
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(literal) => vec![literal.clone()],
            Segment::Any => vec![random.value()],
            Segment::Rest => (0..random.below(4)).map(|_| random.value()).collect(),
        })
        .collect();
    let all: Vec<_> =
        segments.iter().flatten().map(|value| format!("/{}", percent::encode(value, Mode::Segment))).collect();
    let verb = template.verb().map(|verb| format!(":{verb}")).unwrap_or_default();
    let path = if all.is_empty() { format!("/{verb}") } else { all.concat() + &verb };
    let value = |variable: &Variable| {
        let Range { start, end } = variable.segments;
        let parts: Vec<_> = segments[start..end].iter().flatten().cloned().collect();
        if variable.is_multiple() {
            // The value keeps `%2F`.
            parts.iter().map(|part| part.replace('/', "%2F")).collect::<Vec<_>>().join("/")
        } else {
            parts.concat()
        }
    };
    (path, template.variables.iter().map(value).collect())
}

#[test]
fn captured_values_are_those_of_the_path() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut captured = 0;
    for _ in 0..4000 {
        let text = random.template();
        let template = Template::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let router = Router::build(&[("GET", &template)]).unwrap();
        let (path, values) = expand(&template, &mut random);
        // A verb needs a segment before it.
        if path.starts_with("/:") {
            continue;
        }
        let Lookup::Found(found) = router.find("GET", &path) else { panic!("{text} does not match {path:?}") };
        for (variable, value) in template.variables.iter().zip(&values) {
            let mode = if variable.is_multiple() { Mode::Segments } else { Mode::Segment };
            let raw = &path[found.captured(variable)];
            assert_eq!(percent::decode(raw, mode).as_deref(), Ok(value.as_str()), "{text} {path:?}");
            captured += 1;
        }
    }
    assert!(captured > 2000, "{captured}");
}

#[test]
fn router_agrees_with_a_simple_matcher() {
    let mut random = Random(7);
    for _ in 0..300 {
        let templates: Vec<_> = (0..12).map(|_| Template::parse(&random.template()).unwrap()).collect();
        let mut distinct: Vec<&Template> = Vec::new();
        for template in &templates {
            let shape = (&template.segments, &template.verb);
            if distinct.iter().all(|other| (&other.segments, &other.verb) != shape) {
                distinct.push(template);
            }
        }
        let routes: Vec<_> = distinct.iter().map(|template| ("GET", *template)).collect();
        let router = Router::build(&routes).unwrap();
        for _ in 0..50 {
            let template = distinct[random.below(distinct.len())];
            let (path, _) = expand(template, &mut random);
            if path.starts_with("/:") {
                continue;
            }
            let expected = best(&distinct, &path);
            let found = match router.find("GET", &path) {
                Lookup::Found(found) => Some(found.route),
                _ => None,
            };
            assert_eq!(found, expected, "{path:?} {distinct:#?}");
        }
    }
}

/// The most specific template that matches, tried one by one.
fn best(templates: &[&Template], path: &str) -> Option<usize> {
    let rank = |template: &Template| (template.verb.is_none(), template.segments.clone());
    let matching = (0..templates.len()).filter(|&at| matches(templates[at], path));
    matching.min_by_key(|&at| rank(templates[at]))
}

fn matches(template: &Template, path: &str) -> bool {
    let path = match &template.verb {
        None => Some(path),
        Some(verb) => path.strip_suffix(verb.as_str()).and_then(|path| path.strip_suffix(':')),
    };
    let Some(path) = path else { return false };
    let parts: Vec<_> = path.split('/').skip(1).filter(|_| path != "/").collect();
    let is_rest = template.segments.last() == Some(&Segment::Rest);
    let fixed = template.segments.len() - usize::from(is_rest);
    let has_length = if is_rest { parts.len() >= fixed } else { parts.len() == fixed };
    has_length
        && parts.iter().all(|part| !part.is_empty())
        && template.segments.iter().zip(&parts).all(|(segment, part)| match segment {
            Segment::Literal(literal) => percent::decode(part, Mode::Segment).as_deref() == Ok(literal),
            _ => true,
        })
}
