//! Compiles a descriptor pool.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind as Type, MessageDescriptor, Syntax,
};

use super::{EnumId, EnumPlan, FieldPlan, Kind, Label, MessageId, MessagePlan, NameTable, Plans, shape};
use crate::{
    json::quote,
    wire::{Tag, WireType},
};

/// Field numbers below this one are looked up without a search.
const SMALL_NUMBERS: u32 = 512;

/// The indices of messages and enums by full name.
struct Ids {
    messages: HashMap<Box<str>, u32>,
    enums: HashMap<Box<str>, u32>,
}

impl Plans {
    pub(crate) fn compile(pool: &DescriptorPool) -> Self {
        let number = |names: Vec<Box<str>>| names.into_iter().zip(0..).collect();
        let ids = Ids {
            messages: number(pool.all_messages().map(|message| message.full_name().into()).collect()),
            enums: number(pool.all_enums().map(|of| of.full_name().into()).collect()),
        };
        let messages = pool.all_messages().map(|message| ids.message(&message)).collect();
        let enums = pool.all_enums().map(|of| enumeration(&of)).collect();
        Self { messages, enums, by_name: ids.messages }
    }
}

/// A field or an extension.
struct Declared {
    number: u32,
    name: String,
    json_name: String,
    kind: Type,
    is_group: bool,
    is_list: bool,
    is_map: bool,
    is_packed: bool,
    has_presence: bool,
    oneof: Option<String>,
}

impl Declared {
    fn of_field(field: &FieldDescriptor) -> Self {
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        Self {
            number: field.number(),
            name: field.name().to_owned(),
            json_name: field.json_name().to_owned(),
            kind: field.kind(),
            is_group: field.is_group(),
            is_list: field.is_list(),
            is_map: field.is_map(),
            is_packed: field.is_packed(),
            has_presence: field.supports_presence(),
            oneof: oneof.map(|oneof| oneof.name().to_owned()),
        }
    }

    /// JSON names extensions `[package.name]`.
    fn of_extension(extension: &ExtensionDescriptor) -> Self {
        let name = format!("[{}]", extension.full_name());
        Self {
            number: extension.number(),
            json_name: name.clone(),
            name,
            kind: extension.kind(),
            is_group: extension.is_group(),
            is_list: extension.is_list(),
            is_map: extension.is_map(),
            is_packed: extension.is_packed(),
            has_presence: !extension.is_list() && !extension.is_map(),
            oneof: None,
        }
    }
}

impl Ids {
    fn message(&self, message: &MessageDescriptor) -> MessagePlan {
        let mut declared: Vec<Declared> = message.fields().map(|field| Declared::of_field(&field)).collect();
        declared.extend(message.extensions().map(|extension| Declared::of_extension(&extension)));
        declared.sort_by_key(|field| field.number);
        let mut oneofs: Vec<String> = Vec::new();
        let count = declared.len();
        let fields: Box<[FieldPlan]> = declared
            .into_iter()
            .map(|field| {
                let oneof = field.oneof.as_ref().map(|name| {
                    let known = oneofs.iter().position(|known| known == name);
                    let at = known.unwrap_or_else(|| {
                        oneofs.push(name.clone());
                        oneofs.len() - 1
                    });
                    index(count + at)
                });
                self.field(field, oneof)
            })
            .collect();
        let json_names = fields.iter().map(|field| field.json_name.to_string()).zip(0..);
        let proto_names = fields.iter().map(|field| field.name.to_string()).zip(0..);
        MessagePlan {
            full_name: message.full_name().into(),
            shape: shape::of(message),
            names: NameTable::new(json_names.chain(proto_names)),
            small_numbers: small_numbers(&fields),
            seen_words: (fields.len() + oneofs.len()).div_ceil(64),
            fields,
        }
    }

    fn field(&self, field: Declared, oneof: Option<u32>) -> FieldPlan {
        let kind = self.kind(&field.kind, field.is_group);
        let label = match (field.is_map, field.is_list) {
            (true, _) => Label::Map,
            (false, true) => Label::List { is_packed: field.is_packed },
            (false, false) => Label::Singular,
        };
        let key = |name: &str| {
            let mut key = quote(name);
            key.push(b':');
            key.into_boxed_slice()
        };
        FieldPlan {
            number: field.number,
            kind,
            label,
            has_presence: field.has_presence,
            oneof,
            tag: Tag::new(field.number, kind.wire_type()),
            packed_tag: Tag::new(field.number, WireType::Length),
            end_tag: Tag::new(field.number, WireType::EndGroup),
            json_key: key(&field.json_name),
            proto_key: key(&field.name),
            name: field.name.into(),
            json_name: field.json_name.into(),
        }
    }

    fn kind(&self, kind: &Type, is_group: bool) -> Kind {
        match kind {
            Type::Int32 => Kind::Int32,
            Type::Int64 => Kind::Int64,
            Type::Uint32 => Kind::Uint32,
            Type::Uint64 => Kind::Uint64,
            Type::Sint32 => Kind::Sint32,
            Type::Sint64 => Kind::Sint64,
            Type::Fixed32 => Kind::Fixed32,
            Type::Fixed64 => Kind::Fixed64,
            Type::Sfixed32 => Kind::Sfixed32,
            Type::Sfixed64 => Kind::Sfixed64,
            Type::Float => Kind::Float,
            Type::Double => Kind::Double,
            Type::Bool => Kind::Bool,
            Type::String => Kind::String,
            Type::Bytes => Kind::Bytes,
            Type::Enum(of) => Kind::Enum(EnumId(self.enums.get(of.full_name()).copied().unwrap_or_default())),
            Type::Message(of) => {
                let id = MessageId(self.messages.get(of.full_name()).copied().unwrap_or_default());
                if is_group { Kind::Group(id) } else { Kind::Message(id) }
            }
        }
    }
}

/// The index of each field by its number, plus one, for small numbers.
fn small_numbers(fields: &[FieldPlan]) -> Box<[u32]> {
    let largest = fields.iter().map(|field| field.number).filter(|number| *number < SMALL_NUMBERS).max();
    let mut indices = vec![0; largest.map_or(0, |largest| largest as usize + 1)].into_boxed_slice();
    for (field, at) in fields.iter().zip(1..) {
        if let Some(slot) = indices.get_mut(field.number as usize) {
            *slot = at;
        }
    }
    indices
}

fn enumeration(of: &EnumDescriptor) -> EnumPlan {
    // The descriptor's own list has the order of the file.
    let values = &of.enum_descriptor_proto().value;
    let mut names: Vec<(i32, Box<[u8]>)> =
        values.iter().map(|value| (value.number(), quote(value.name()).into_boxed_slice())).collect();
    // The sort keeps the order of equal numbers, so that the first name of each stays.
    names.sort_by_key(|(number, _)| *number);
    names.dedup_by_key(|(number, _)| *number);
    EnumPlan {
        is_closed: of.parent_file().syntax() == Syntax::Proto2,
        is_null: of.full_name() == "google.protobuf.NullValue",
        default: values.first().map_or(0, |value| value.number()),
        numbers: NameTable::new(values.iter().map(|value| (value.name().to_owned(), value.number()))),
        names: names.into_boxed_slice(),
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
