//! Random messages from a seed.

use std::collections::HashMap;

use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value};

/// A generator of numbers: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    /// A number of a random size, so that small and extreme ones are frequent.
    fn bits(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            shift => self.next() >> (shift * 9 % 64),
        }
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 14] =
            ["a", "Z", "0", " ", "\"", "\\", "/", "\n", "\u{1}", "é", "谷歌", "😁", "\u{7f}", "abcdefghijklmnop"];
        (0..self.below(12)).map(|_| PIECES[self.below(PIECES.len())]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(9)).map(|_| self.next() as u8).collect()
    }

    fn float(&mut self) -> f64 {
        const VALUES: [f64; 8] = [0.0, -0.0, 1.0, -1.5, 1e-7, 123_456_789.125, f64::INFINITY, f64::NEG_INFINITY];
        match self.below(3) {
            0 => VALUES[self.below(VALUES.len())],
            1 => self.next() as i32 as f64 / 1000.0,
            // Few digits and a small exponent: serde_json does not read all others exactly.
            _ => f64::from(self.next() as u32) * 10_f64.powi(self.below(20) as i32),
        }
    }

    fn finite(&mut self) -> f64 {
        let value = self.float();
        if value.is_finite() { value } else { 2.5 }
    }
}

/// A message in which about one in `sparsity` fields is set.
pub(crate) fn message(random: &mut Random, of: &MessageDescriptor, depth: usize, sparsity: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    match of.full_name() {
        "google.protobuf.Any" => any(random, &mut message, depth),
        "google.protobuf.Timestamp" => {
            let range = 253_402_300_799 + 62_135_596_800;
            message.set_field_by_number(1, Value::I64((random.next() % range) as i64 - 62_135_596_800));
            message.set_field_by_number(2, Value::I32(nanos(random)));
        }
        "google.protobuf.Duration" => {
            let sign = if random.one_in(2) { 1 } else { -1 };
            message.set_field_by_number(1, Value::I64(sign * (random.bits() % 315_576_000_001) as i64));
            message.set_field_by_number(2, Value::I32(sign as i32 * nanos(random)));
        }
        "google.protobuf.FieldMask" => {
            let paths = ["a", "foo_bar", "a.b_c.d", "x1_y", "long_name_of_field.sub"];
            let list = (0..random.below(4)).map(|_| Value::String(paths[random.below(paths.len())].to_owned()));
            message.set_field_by_number(1, Value::List(list.collect()));
        }
        // prost-reflect prints an infinity in a wrapper as `null`.
        "google.protobuf.DoubleValue" => message.set_field_by_number(1, Value::F64(random.finite())),
        "google.protobuf.FloatValue" => message.set_field_by_number(1, Value::F32(random.finite() as f32)),
        "google.protobuf.Value" => value(random, &mut message, depth),
        _ => {
            for field in of.fields() {
                if random.one_in(sparsity) && (depth > 0 || !has_message(&field)) {
                    let value = field_value(random, &field, depth.saturating_sub(1));
                    message.set_field(&field, value);
                }
            }
        }
    }
    message
}

fn nanos(random: &mut Random) -> i32 {
    let nanos = (random.next() % 1_000_000_000) as i32;
    match random.below(4) {
        0 => 0,
        1 => nanos / 1_000_000 * 1_000_000,
        2 => nanos / 1_000 * 1_000,
        _ => nanos,
    }
}

fn has_message(field: &FieldDescriptor) -> bool {
    let is_message = |kind: Kind| matches!(kind, Kind::Message(_));
    match field.kind() {
        Kind::Message(entry) if field.is_map() => is_message(entry.map_entry_value_field().kind()),
        kind => is_message(kind),
    }
}

fn any(random: &mut Random, message: &mut DynamicMessage, depth: usize) {
    // Not `Empty`: prost-reflect prints `"value":{}`, which the conformance suite refuses.
    let names = ["Duration", "Timestamp", "Int32Value", "BytesValue", "FieldMask", "Struct", "Value"];
    let name = format!("google.protobuf.{}", names[random.below(names.len())]);
    let content = message.descriptor().parent_pool().get_message_by_name(&name).unwrap();
    let content = self::message(random, &content, depth.min(2), 2);
    message.set_field_by_number(1, Value::String(format!("type.googleapis.com/{name}")));
    message.set_field_by_number(2, Value::Bytes(content.encode_to_vec().into()));
}

fn value(random: &mut Random, message: &mut DynamicMessage, depth: usize) {
    let number = if depth == 0 { random.below(4) } else { random.below(6) } as u32 + 1;
    let field = message.descriptor().get_field(number).unwrap();
    let value = match number {
        2 => Value::F64(random.finite()),
        _ => field_value(random, &field, depth.saturating_sub(1)),
    };
    message.set_field(&field, value);
}

fn field_value(random: &mut Random, field: &FieldDescriptor, depth: usize) -> Value {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { panic!("a map has an entry") };
        let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let entries: HashMap<MapKey, Value> = (0..random.below(12))
            .map(|_| (scalar(random, &key, 0).into_map_key().unwrap(), scalar(random, &value, depth)))
            .collect();
        return Value::Map(entries);
    }
    if field.is_list() {
        return Value::List((0..random.below(5)).map(|_| scalar(random, &field.kind(), depth)).collect());
    }
    scalar(random, &field.kind(), depth)
}

fn scalar(random: &mut Random, kind: &Kind, depth: usize) -> Value {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(random.bits() as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(random.bits() as i64),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(random.bits() as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(random.bits()),
        Kind::Float => Value::F32(random.float() as f32),
        Kind::Double => Value::F64(random.float()),
        Kind::Bool => Value::Bool(random.one_in(2)),
        Kind::String => Value::String(random.text()),
        Kind::Bytes => Value::Bytes(random.bytes().into()),
        Kind::Enum(of) => {
            // Of several names of a number, prost-reflect prints any.
            let numbers: Vec<i32> = of.values().map(|value| value.number()).collect();
            let is_unique = |number: &&i32| numbers.iter().filter(|other| other == number).count() == 1;
            let unique: Vec<&i32> = numbers.iter().filter(is_unique).collect();
            Value::EnumNumber(*unique[random.below(unique.len())])
        }
        Kind::Message(of) => Value::Message(message(random, of, depth, 40)),
    }
}
