//! Implements the rules of `trellis/text/v1/text.proto` by Unicode property.
//!
//! The expressions in the contract list the properties as ranges; the tests compare both for every character.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        BidiClass, BidiControl, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, GraphemeClusterBreak,
        JoinControl,
    },
};

use super::{Path, Report};

const REORDER: &str = "must not contain characters that reorder text";
const HIDDEN: &str = "must not contain invisible characters";
const INVISIBLE: &str = "must not be invisible: add a letter, a digit or a symbol";

/// Checks a name or a title.
pub(super) fn string_single_line(value: &str, path: &Path<'_>, report: &mut Report) {
    if is_printable_ascii(value) && !value.starts_with(' ') && !value.ends_with(' ') {
        return;
    }
    let mut refuse = |rule, message, found: Option<char>| add(path, report, rule, message, found);
    let is_control = |c| matches!(kind(c), Kind::LineBreak | Kind::Control);
    let control = "must not contain line breaks or control characters";
    refuse("string.single_line.control", control, value.chars().find(|c| is_control(*c)));
    refuse("string.single_line.reorder", REORDER, reordering(value));
    refuse("string.single_line.hidden", HIDDEN, hidden_in_line(value));
    let edge = "must not contain a space or a combining mark at the beginning, or a space at the end";
    refuse("string.single_line.edge", edge, wrong_edge(value));
    if is_invisible(value) {
        report.add(path, "string.single_line.visible", INVISIBLE.to_owned());
    }
}

/// Checks a message.
pub(super) fn string_multi_line(value: &str, path: &Path<'_>, report: &mut Report) {
    if is_printable_ascii(value) && !value.bytes().all(|b| b == b' ') {
        return;
    }
    let mut refuse = |rule, message, found: Option<char>| add(path, report, rule, message, found);
    let control = "must not contain control characters other than tabs and line breaks";
    let is_control = |c: &char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    refuse("string.multi_line.control", control, value.chars().find(is_control));
    refuse("string.multi_line.reorder", REORDER, reordering(value));
    refuse("string.multi_line.hidden", HIDDEN, hidden_tag(value));
    if is_invisible(value) {
        report.add(path, "string.multi_line.visible", INVISIBLE.to_owned());
    }
}

fn add(path: &Path<'_>, report: &mut Report, rule: &'static str, message: &str, found: Option<char>) {
    if let Some(c) = found {
        report.add(path, rule, format!("{message} (U+{:04X}); remove it", u32::from(c)));
    }
}

/// Most texts are printable ASCII and need no property lookup.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// The classes of characters that the rules distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Letters, marks, digits, punctuation, symbols, private and unassigned characters.
    Plain,
    Space,
    LineBreak,
    Control,
    /// Explicit directional formatting of UAX #9: embeddings, overrides, isolates, and their ends.
    Reordering,
    /// Implicit directional marks of UAX #9.
    Directional,
    /// Join controls of UAX #31, and the Mongolian vowel separator, which is used like them.
    Joiner,
    /// Variation selectors, and other marks without a glyph.
    Selector,
    /// Any other ignorable character, and delimiters of annotations.
    Hidden,
}

fn kind(c: char) -> Kind {
    let has_class = |classes: &[BidiClass]| classes.contains(&CodePointMapData::<BidiClass>::new().get(c));
    match CodePointMapData::<GeneralCategory>::new().get(c) {
        GeneralCategory::Control => Kind::Control,
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => Kind::LineBreak,
        GeneralCategory::SpaceSeparator => Kind::Space,
        _ if CodePointSetData::new::<BidiControl>().contains(c) => {
            let implicit = [BidiClass::LeftToRight, BidiClass::RightToLeft, BidiClass::ArabicLetter];
            if has_class(&implicit) { Kind::Directional } else { Kind::Reordering }
        }
        _ if CodePointSetData::new::<JoinControl>().contains(c) || c == '\u{180E}' => Kind::Joiner,
        GeneralCategory::NonspacingMark if is_ignorable(c) => Kind::Selector,
        GeneralCategory::Format if !is_visible_format(c) => Kind::Hidden,
        _ if is_ignorable(c) => Kind::Hidden,
        _ => Kind::Plain,
    }
}

fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Prepended concatenation marks, such as the Arabic number sign: the format characters with a glyph.
fn is_visible_format(c: char) -> bool {
    CodePointMapData::<GraphemeClusterBreak>::new().get(c) == GraphemeClusterBreak::Prepend
}

fn reordering(text: &str) -> Option<char> {
    text.chars().find(|c| kind(*c) == Kind::Reordering)
}

/// The first ignorable character of a line that no script or emoji needs at its position.
fn hidden_in_line(text: &str) -> Option<char> {
    let (mut chars, mut before) = (text.chars(), Kind::Space);
    while let Some(c) = chars.next() {
        if let Some(rest) = after_flag(c, chars.as_str()) {
            (chars, before) = (rest.chars(), Kind::Space);
            continue;
        }
        let now = kind(c);
        let fits = match now {
            Kind::Plain | Kind::Space | Kind::LineBreak | Kind::Control | Kind::Reordering => true,
            Kind::Directional => before != Kind::Directional,
            Kind::Selector => before == Kind::Plain,
            Kind::Joiner => matches!(before, Kind::Plain | Kind::Selector),
            Kind::Hidden => false,
        };
        if !fits {
            return Some(c);
        }
        before = now;
    }
    None
}

/// The first tag character outside a flag, or unassigned ignorable character of the same block.
fn hidden_tag(text: &str) -> Option<char> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if let Some(rest) = after_flag(c, chars.as_str()) {
            chars = rest.chars();
        } else if c >= '\u{E0000}' && kind(c) == Kind::Hidden {
            return Some(c);
        }
    }
    None
}

/// The text after the flag of a region, such as Scotland's: U+1F3F4, up to six tags, and the cancel tag.
fn after_flag(first: char, rest: &str) -> Option<&str> {
    let is_tag = |c: char| matches!(c, '\u{E0030}'..='\u{E0039}' | '\u{E0061}'..='\u{E007A}');
    let tags = rest.chars().take_while(|c| first == '\u{1F3F4}' && is_tag(*c)).count();
    let end = rest.char_indices().nth(tags).filter(|(_, c)| (1..=6).contains(&tags) && *c == '\u{E007F}');
    end.and_then(|(at, c)| rest.get(at + c.len_utf8()..))
}

fn wrong_edge(text: &str) -> Option<char> {
    let category = |c: &char| CodePointMapData::<GeneralCategory>::new().get(*c);
    let first = text.chars().next().filter(|c| {
        let category = category(c);
        GeneralCategoryGroup::Separator.contains(category) || GeneralCategoryGroup::Mark.contains(category)
    });
    first.or(text.chars().next_back().filter(|c| GeneralCategoryGroup::Separator.contains(category(c))))
}

/// Symbols with an empty glyph, which no property marks: a braille pattern, a replacement and a note head.
pub const BLANK: [char; 3] = ['\u{2800}', '\u{FFFC}', '\u{1D159}'];

fn is_invisible(text: &str) -> bool {
    let without_glyph = GeneralCategoryGroup::Separator
        .union(GeneralCategoryGroup::Mark)
        .union(GeneralCategoryGroup::Control)
        .union(GeneralCategoryGroup::Format)
        .union(GeneralCategoryGroup::PrivateUse);
    let is_visible = |c: char| {
        !without_glyph.contains(CodePointMapData::<GeneralCategory>::new().get(c))
            && !is_ignorable(c)
            && !BLANK.contains(&c)
    };
    !text.is_empty() && !text.chars().any(is_visible)
}
