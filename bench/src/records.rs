//! The contract `records.proto`: its messages with the derives of prost and of serde, samples, and its descriptors.

mod json;

use prost::Message as _;
use prost_types::Timestamp;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde::{Deserialize, Serialize};

use json::{is_default, quoted, state, timestamp};

/// The package of the contract, which is the prefix of its upstream at the gateway.
pub(crate) const PREFIX: &str = "bench.guarded.records";
/// The full name of the service.
pub(crate) const SERVICE: &str = "bench.guarded.records.v1.Records";
/// The paths of the method `Unary`, in gRPC and in JSON over HTTP.
pub(crate) const UNARY: &str = "/bench.guarded.records.v1.Records/Unary";
pub(crate) const UNARY_HTTP: &str = "/bench/records";
/// The paths of the method `Repeat`, in gRPC and in JSON over HTTP.
pub(crate) const REPEAT: &str = "/bench.guarded.records.v1.Records/Repeat";
pub(crate) const REPEAT_HTTP: &str = "/bench/records:repeat";

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_default")]
    id: String,
    #[prost(int64, tag = "2")]
    #[serde(with = "quoted", skip_serializing_if = "is_default")]
    revision: i64,
    #[prost(enumeration = "State", tag = "3")]
    #[serde(with = "state", skip_serializing_if = "is_default")]
    state: i32,
    #[prost(message, optional, tag = "4")]
    #[serde(with = "timestamp", skip_serializing_if = "is_default")]
    created_at: Option<Timestamp>,
    #[prost(string, tag = "5")]
    #[serde(skip_serializing_if = "is_default")]
    title: String,
    #[prost(string, tag = "6")]
    #[serde(skip_serializing_if = "is_default")]
    description: String,
    #[prost(message, optional, tag = "7")]
    #[serde(skip_serializing_if = "is_default")]
    author: Option<Person>,
    #[prost(string, repeated, tag = "8")]
    #[serde(skip_serializing_if = "is_default")]
    labels: Vec<String>,
    #[prost(double, tag = "9")]
    #[serde(skip_serializing_if = "is_default")]
    price: f64,
    #[prost(int32, tag = "10")]
    #[serde(skip_serializing_if = "is_default")]
    page_size: i32,
    #[prost(bool, tag = "11")]
    #[serde(skip_serializing_if = "is_default")]
    is_public: bool,
    #[prost(message, repeated, tag = "12")]
    #[serde(skip_serializing_if = "is_default")]
    items: Vec<Item>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Person {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    display_name: String,
    #[prost(string, tag = "3")]
    email: String,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Item {
    #[prost(string, tag = "1")]
    sku: String,
    #[prost(int32, tag = "2")]
    quantity: i32,
    #[prost(int64, tag = "3")]
    #[serde(with = "quoted")]
    unit_price: i64,
    #[prost(enumeration = "State", tag = "4")]
    #[serde(with = "state")]
    state: i32,
    #[prost(message, optional, tag = "5")]
    #[serde(with = "timestamp")]
    added_at: Option<Timestamp>,
    #[prost(string, repeated, tag = "6")]
    tags: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration, Serialize, Deserialize)]
#[repr(i32)]
pub(crate) enum State {
    #[serde(rename = "STATE_UNSPECIFIED")]
    Unspecified = 0,
    #[serde(rename = "STATE_ACTIVE")]
    Active = 1,
    #[serde(rename = "STATE_ARCHIVED")]
    Archived = 2,
}

/// The text that brings a record to its size.
const TEXT: &str = "Lunch at the café near the station, \"the usual one\", at noon. ";
/// The size from which a record has an author, labels and numbers.
const TYPICAL: usize = 500;
/// The size from which a record has items.
const LISTS: usize = 5_000;
const ITEMS: usize = 100;

impl Record {
    /// A record of `size` bytes in protobuf: 100 B have the first five fields, 1 kB all fields but items, and 10 kB most
    /// of their bytes in items.
    pub(crate) fn of_size(size: usize) -> Self {
        let mut record = Self {
            id: "0190b2c4-7d1e-7abc-8def-0123456789ab".to_owned(),
            revision: 1_790_000_000_123,
            state: State::Active as i32,
            created_at: Some(Timestamp { seconds: 1_790_000_000, nanos: 125_000_000 }),
            ..Self::default()
        };
        if size < TYPICAL {
            fill(&mut record, size, |record| &mut record.title);
            return record;
        }
        record.title = "Quarterly report".to_owned();
        record.author = Some(Person {
            id: "0190b2c4-7d1e-7abc-8def-ba9876543210".to_owned(),
            display_name: "Ada Lovelace".to_owned(),
            email: "ada@example.org".to_owned(),
        });
        record.labels = ["finance", "reviewed", "2026"].map(str::to_owned).to_vec();
        record.price = 1234.56;
        record.page_size = 50;
        record.is_public = true;
        if size >= LISTS {
            record.items = (0..ITEMS).map(Item::sample).collect();
        }
        fill(&mut record, size, |record| &mut record.description);
        record
    }

    /// The JSON of a client: the fields in their order, without default values.
    pub(crate) fn json(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|e| e.to_string())
    }
}

impl Item {
    fn sample(at: usize) -> Self {
        let number = i32::try_from(at).unwrap_or_default();
        Self {
            sku: format!("SKU-{at:08}-{:04}", at * 7),
            quantity: number % 9 + 1,
            unit_price: 1_999 + i64::from(number) * 731,
            state: if at.is_multiple_of(5) { State::Archived } else { State::Active } as i32,
            added_at: Some(Timestamp { seconds: 1_790_000_000 + i64::from(number) * 37, nanos: 250_000_000 }),
            tags: vec!["fragile".to_owned(), format!("shelf {}", at % 12 + 1)],
        }
    }
}

/// Extends a text field until the record has `size` bytes.
fn fill(record: &mut Record, size: usize, field: fn(&mut Record) -> &mut String) {
    let mut characters = TEXT.chars().cycle();
    while record.encoded_len() < size {
        let next = characters.next().unwrap_or(' ');
        field(record).push(next);
    }
    // The last character may have had two bytes, of which one was too many.
    if record.encoded_len() > size {
        field(record).pop();
        field(record).push('.');
    }
}

/// The encoded `FileDescriptorSet` of the contract, with its imports.
pub(crate) fn descriptors() -> Result<Vec<u8>, String> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Embedded);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("records.proto").map_err(|e| e.to_string())?;
    Ok(compiler.encode_file_descriptor_set())
}

/// The files of the contract, inside this program.
struct Embedded;

impl FileResolver for Embedded {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let source = match name {
            "records.proto" => include_str!("../proto/records.proto"),
            "google/api/annotations.proto" => include_str!("../../proto/third_party/google/api/annotations.proto"),
            "google/api/http.proto" => include_str!("../../proto/third_party/google/api/http.proto"),
            _ => return Err(protox::Error::file_not_found(name)),
        };
        File::from_source(name, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_size_and_survive_json() {
        for size in [100, 1_000, 10_000] {
            let record = Record::of_size(size);
            assert_eq!(record.encoded_len(), size);
            let json = record.json().expect("JSON");
            assert_eq!(serde_json::from_str::<Record>(&json).expect("the same JSON"), record, "{json}");
        }
        assert!(Record::of_size(10_000).items.len() == ITEMS, "most bytes are in the list");
    }

    #[test]
    fn descriptors_declare_the_service_and_its_imports() {
        let set =
            prost_types::FileDescriptorSet::decode(descriptors().expect("descriptors").as_slice()).expect("a set");
        let names: Vec<_> = set.file.iter().map(|file| file.name()).collect();
        assert!(
            names.contains(&"google/api/http.proto") && names.contains(&"google/protobuf/timestamp.proto"),
            "{names:?}"
        );
        let file = set.file.iter().find(|file| file.name() == "records.proto").expect("the contract");
        let service = &file.service[0];
        assert_eq!(format!("{}.{}", file.package(), service.name()), SERVICE);
        let paths: Vec<_> = service.method.iter().map(|method| format!("/{SERVICE}/{}", method.name())).collect();
        assert_eq!(paths, [UNARY, REPEAT]);
    }
}
