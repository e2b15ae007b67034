//! Reads JSON text piece by piece, without a tree of values: a piece is the text of one value.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer as _,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Deserializer, value::RawValue};

/// The text is not what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Calls `each` with the elements of a list, until it fails.
pub(crate) fn elements<'a, E: From<Malformed>>(
    list: &'a RawValue,
    each: impl FnMut(&'a RawValue) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader { each, failed: None };
    let read = Deserializer::from_str(list.get()).deserialize_seq(ElementReader(&mut reader));
    reader.result(read)
}

/// Calls `each` with the members of an object, until it fails.
pub(crate) fn members<'a, E: From<Malformed>>(
    object: &'a RawValue,
    each: impl FnMut((Cow<'a, str>, &'a RawValue)) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader { each, failed: None };
    let read = Deserializer::from_str(object.get()).deserialize_map(MemberReader(&mut reader));
    reader.result(read)
}

/// The members of an object that few fields have.
pub(crate) fn all_members(object: &RawValue) -> Result<Vec<(Cow<'_, str>, &RawValue)>, Malformed> {
    let mut all = Vec::new();
    members(object, |member| {
        all.push(member);
        Ok::<_, Malformed>(())
    })?;
    Ok(all)
}

/// The text of a string; `None`: it is another value.
pub(crate) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(value.get()).ok().map(Cow::Owned),
    }
}

/// Whether a value is `null`.
pub(crate) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

struct Reader<F, E> {
    each: F,
    /// Why `each` has failed.
    failed: Option<E>,
}

impl<F, E: From<Malformed>> Reader<F, E> {
    fn result(self, read: Result<(), serde_json::Error>) -> Result<(), E> {
        match (self.failed, read) {
            (Some(failed), _) => Err(failed),
            (None, Err(_)) => Err(Malformed.into()),
            (None, Ok(())) => Ok(()),
        }
    }

    fn take<T>(&mut self, item: T) -> Result<(), serde_json::Error>
    where
        F: FnMut(T) -> Result<(), E>,
    {
        (self.each)(item).map_err(|failed| {
            self.failed = Some(failed);
            serde_json::Error::custom("stopped")
        })
    }
}

struct ElementReader<'r, F, E>(&'r mut Reader<F, E>);

impl<'de, F: FnMut(&'de RawValue) -> Result<(), E>, E: From<Malformed>> Visitor<'de> for ElementReader<'_, F, E> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<&'de RawValue>()? {
            self.0.take(element).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

struct MemberReader<'r, F, E>(&'r mut Reader<F, E>);

impl<'de, F: FnMut((Cow<'de, str>, &'de RawValue)) -> Result<(), E>, E: From<Malformed>> Visitor<'de>
    for MemberReader<'_, F, E>
{
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(name) = object.next_key_seed(MemberName)? {
            let value = object.next_value::<&'de RawValue>()?;
            self.0.take((name, value)).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The name of a member, borrowed if it has no escapes.
struct MemberName;

impl<'de> DeserializeSeed<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for MemberName {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn pieces_are_the_text_of_values() {
        let members = all_members(raw(r#"{"a":[1,"x"],"b\n":{"c":null}}"#)).unwrap();
        let pieces: Vec<_> = members.iter().map(|(name, value)| (name.as_ref(), value.get())).collect();
        assert_eq!(pieces, [("a", r#"[1,"x"]"#), ("b\n", r#"{"c":null}"#)]);
        let mut pieces = Vec::new();
        let read = elements(members[0].1, |element| {
            pieces.push(element.get());
            Ok::<_, Malformed>(())
        });
        assert_eq!((read, pieces), (Ok(()), vec!["1", "\"x\""]));
        assert_eq!(elements(raw("{}"), |_| Ok::<_, Malformed>(())), Err(Malformed));
        assert_eq!(text(raw(r#""a\u00e4""#)).as_deref(), Some("aä"));
        assert_eq!((text(raw("1")), is_null(raw("null"))), (None, true));
    }

    #[test]
    fn reading_stops_at_the_first_failure() {
        #[derive(Debug, PartialEq)]
        enum ReadFailure {
            Read,
            Stopped(usize),
        }
        impl From<Malformed> for ReadFailure {
            fn from(_: Malformed) -> Self {
                Self::Read
            }
        }
        let mut seen = 0;
        let read = elements(raw("[1,2,3]"), |_| {
            seen += 1;
            if seen == 2 { Err(ReadFailure::Stopped(seen)) } else { Ok(()) }
        });
        assert_eq!((read, seen), (Err(ReadFailure::Stopped(2)), 2));
        assert_eq!(members(raw("[]"), |_| Ok(())), Err(ReadFailure::Read));
    }
}
