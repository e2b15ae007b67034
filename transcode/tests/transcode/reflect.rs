//! Compares with prost-reflect and serde on random messages.

use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::Value;
use transcode::ErrorKind;

use crate::{
    generate::{Random, message},
    support::{PROTO2, PROTO3, assert_equal, decode, descriptor, to_json, to_proto},
};

const SEED: u64 = 20_261_130;
const MESSAGES: usize = 400;

/// A JSON value in which numbers compare by value: `1` and `1.0` are equal.
fn normalised(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::from(number.as_f64().unwrap()),
        Value::Array(list) => list.into_iter().map(normalised).collect(),
        Value::Object(members) => members.into_iter().map(|(key, value)| (key, normalised(value))).collect(),
        other => other,
    }
}

pub(crate) fn json_value(text: &str) -> Value {
    normalised(serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}")))
}

fn from_json(name: &str, json: &str) -> DynamicMessage {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(descriptor(name), &mut deserializer);
    message.unwrap_or_else(|e| panic!("{e}: {json}"))
}

#[test]
fn random_messages_convert_as_with_prost_reflect() {
    for name in [PROTO3, PROTO2] {
        let mut random = Random::new(SEED);
        for _ in 0..MESSAGES {
            let sparsity = 1 + random.below(30);
            let original = message(&mut random, &descriptor(name), 4, sparsity);
            let proto = original.encode_to_vec();
            let ours = to_json(name, &proto).unwrap();
            let theirs = serde_json::to_string(&original).unwrap();
            assert_eq!(json_value(&ours), json_value(&theirs));
            assert_equal(&from_json(name, &ours), &original, &ours);
            for json in [&ours, &theirs] {
                let back = to_proto(name, json).unwrap_or_else(|e| panic!("{e}: {json}"));
                assert_equal(&decode(name, &back), &original, json);
            }
        }
    }
}

#[test]
fn json_to_proto_to_json_is_a_fixed_point() {
    for name in [PROTO3, PROTO2] {
        let mut random = Random::new(SEED + 1);
        for _ in 0..MESSAGES {
            let original = message(&mut random, &descriptor(name), 4, 10);
            let json = to_json(name, &original.encode_to_vec()).unwrap();
            let proto = to_proto(name, &json).unwrap();
            assert_eq!(to_json(name, &proto).unwrap(), json);
            assert_eq!(to_proto(name, &json).unwrap(), proto);
        }
    }
}

/// The fields of an encoded message, each with its tag.
fn fields(mut proto: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    while !proto.is_empty() {
        let mut rest = proto;
        let (_, wire_type) = prost::encoding::decode_key(&mut rest).unwrap();
        let context = prost::encoding::DecodeContext::default();
        prost::encoding::skip_field(wire_type, 1, &mut rest, context).unwrap();
        let (field, behind) = proto.split_at(proto.len() - rest.len());
        fields.push(field);
        proto = behind;
    }
    fields
}

#[test]
fn shuffled_and_merged_fields_convert_as_with_prost_reflect() {
    let mut random = Random::new(SEED + 2);
    let mut compared = 0;
    for round in 0..MESSAGES {
        let pieces: Vec<Vec<u8>> =
            (0..3).map(|_| message(&mut random, &descriptor(PROTO3), 3, 12).encode_to_vec()).collect();
        let mut all: Vec<&[u8]> = pieces.iter().flat_map(|piece| fields(piece)).collect();
        for at in (1..all.len()).rev() {
            all.swap(at, random.below(at + 1));
        }
        let proto = all.concat();
        // Pieces may merge to a value without a JSON form: an `Any` with another type, or a duration with two signs, which
        // prost-reflect prints.
        let Ok(theirs) = serde_json::to_string(&decode(PROTO3, &proto)) else { continue };
        let ours = match to_json(PROTO3, &proto) {
            Err(error) if error.kind == ErrorKind::Unrepresentable => continue,
            ours => ours.unwrap_or_else(|e| panic!("round {round}: {e}: {theirs}")),
        };
        compared += 1;
        assert_eq!(json_value(&ours), json_value(&theirs), "round {round}");
    }
    assert!(compared > MESSAGES / 2, "{compared}");
}
