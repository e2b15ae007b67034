//! The messages as prost generates them, with serde's derives, and their samples.

use std::collections::HashMap;

use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Request {
    #[prost(string, tag = "1")]
    conversation_id: String,
    #[prost(int32, tag = "2")]
    page_size: i32,
    #[prost(string, tag = "3")]
    page_token: String,
    #[prost(enumeration = "Kind", tag = "4")]
    #[serde(with = "kind")]
    kind: i32,
    #[prost(bool, tag = "5")]
    newest_first: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Entry {
    #[prost(uint64, tag = "1")]
    #[serde(with = "quoted")]
    sequence: u64,
    #[prost(string, tag = "2")]
    sender_id: String,
    #[prost(string, tag = "3")]
    text: String,
    #[prost(message, optional, tag = "4")]
    #[serde(with = "timestamp")]
    sent_at: Option<Timestamp>,
    #[prost(map = "string, int32", tag = "5")]
    reactions: HashMap<String, i32>,
    #[prost(enumeration = "Kind", tag = "6")]
    #[serde(with = "kind")]
    kind: i32,
    #[prost(string, repeated, tag = "7")]
    tags: Vec<String>,
    #[prost(bool, tag = "8")]
    edited: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Page {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Numbers {
    #[prost(int32, repeated, tag = "1")]
    small: Vec<i32>,
    #[prost(int64, repeated, tag = "2")]
    #[serde(with = "quoted_list")]
    large: Vec<i64>,
    #[prost(double, repeated, tag = "3")]
    measures: Vec<f64>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Blob {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(with = "base64_text")]
    data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[repr(i32)]
enum Kind {
    #[serde(rename = "KIND_UNSPECIFIED")]
    Unspecified = 0,
    #[serde(rename = "KIND_TEXT")]
    Text = 1,
    #[serde(rename = "KIND_IMAGE")]
    Image = 2,
}

mod kind {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Kind;

    pub(crate) fn serialize<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
        Kind::try_from(*value).unwrap_or(Kind::Unspecified).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
        Kind::deserialize(from).map(|kind| kind as i32)
    }
}

mod quoted {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        <&str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

mod quoted_list {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(values: &[i64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i64>, D::Error> {
        let texts = Vec::<&str>::deserialize(from)?;
        texts.into_iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

mod timestamp {
    use prost_types::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(value: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        <&str>::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
    }
}

mod base64_text {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(value: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(<&str>::deserialize(from)?).map_err(D::Error::custom)
    }
}

pub(crate) fn request() -> Request {
    Request {
        conversation_id: "0190b2c4-7d1e-7abc-8def-0123456789ab".to_owned(),
        page_size: 50,
        page_token: "eyJzZXF1ZW5jZSI6MTIzNDU2fQ".to_owned(),
        kind: Kind::Text as i32,
        newest_first: true,
    }
}

pub(crate) fn page() -> Page {
    let entry = |at: usize| Entry {
        sequence: 123_456 + at as u64,
        sender_id: format!("0190b2c4-7d1e-7abc-8def-{at:012}"),
        text: format!("Message number {at}: let us meet at the café near the station, \"the usual one\", at noon."),
        sent_at: Some(Timestamp { seconds: 1_790_000_000 + at as i64 * 37, nanos: 125_000_000 }),
        reactions: [("👍".to_owned(), 3), ("🎉".to_owned(), at as i32 + 1)].into(),
        kind: if at.is_multiple_of(5) { Kind::Image } else { Kind::Text } as i32,
        tags: vec!["work".to_owned(), "lunch".to_owned()],
        edited: at.is_multiple_of(3),
    };
    Page { entries: (0..50).map(entry).collect(), next_page_token: "eyJzZXF1ZW5jZSI6MTIzNTA2fQ".to_owned() }
}

pub(crate) fn numbers() -> Numbers {
    Numbers {
        small: (0..1000).map(|n| n * 37 - 5000).collect(),
        large: (0..1000).map(|n| n * 9_007_199_254_741).collect(),
        measures: (0..1000).map(|n| f64::from(n) * 1.37 + 0.001).collect(),
    }
}

pub(crate) fn blob() -> Blob {
    Blob {
        text: "The quick brown fox jumps over the lazy dog. ".repeat(1500),
        data: (0..48 * 1024).map(|n| (n * 31 % 251) as u8).collect(),
    }
}
