//! Compiled descriptors: everything that a conversion looks up, in tables.
//!
//! All plans of a descriptor pool stand in one [`Plans`], and refer to one another by index, so that recursive messages
//! need no special care.

mod build;
mod names;
mod seen;
mod shape;

pub(crate) use names::NameTable;
pub(crate) use seen::{Bits, MoreBits};

use std::collections::HashMap;

use crate::wire::{Tag, WireType};

/// The plans of all messages and enums of a descriptor pool.
#[derive(Debug)]
pub(crate) struct Plans {
    messages: Box<[MessagePlan]>,
    enums: Box<[EnumPlan]>,
    /// The indices of messages by full name.
    by_name: HashMap<Box<str>, u32>,
}

/// The position of a message in [`Plans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MessageId(u32);

/// The position of an enum in [`Plans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EnumId(u32);

/// A message.
#[derive(Debug)]
pub(crate) struct MessagePlan {
    pub(crate) full_name: Box<str>,
    pub(crate) shape: Shape,
    /// In the order of their numbers.
    pub(crate) fields: Box<[FieldPlan]>,
    /// The indices of fields by JSON name and by the name in the `.proto` file.
    pub(crate) names: NameTable<u32>,
    /// The indices of the fields with small numbers, plus one; 0 for none.
    small_numbers: Box<[u32]>,
    /// How many 64-bit words hold one bit for each field and each oneof.
    pub(crate) seen_words: usize,
}

/// How JSON represents a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    Any,
    Timestamp,
    Duration,
    FieldMask,
    Struct,
    Value,
    ListValue,
    Wrapper,
}

/// A field.
#[derive(Debug)]
pub(crate) struct FieldPlan {
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) label: Label,
    /// Whether the field distinguishes absent from its default value.
    pub(crate) has_presence: bool,
    /// The bit of the field's oneof among the bits of the message.
    pub(crate) oneof: Option<u32>,
    /// The tag of a value or of an unpacked element.
    pub(crate) tag: Tag,
    /// The tag of a packed list.
    pub(crate) packed_tag: Tag,
    /// The end of a group.
    pub(crate) end_tag: Tag,
    /// The name in the `.proto` file.
    pub(crate) name: Box<str>,
    pub(crate) json_name: Box<str>,
    /// The key of a JSON member: `"name":`.
    pub(crate) json_key: Box<[u8]>,
    /// The key with the name of the `.proto` file.
    pub(crate) proto_key: Box<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Label {
    Singular,
    List { is_packed: bool },
    Map,
}

/// The type of a value. The type of a map is its entry message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    Bool,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
    /// A message between a start and an end tag.
    Group(MessageId),
}

/// An enum.
#[derive(Debug)]
pub(crate) struct EnumPlan {
    /// A closed enum (proto2) refuses numbers without a name. On the wire they count as unknown fields.
    pub(crate) is_closed: bool,
    /// `google.protobuf.NullValue`, whose JSON form is `null`.
    pub(crate) is_null: bool,
    /// The first value, which is zero unless the enum is closed.
    pub(crate) default: i32,
    pub(crate) numbers: NameTable<i32>,
    /// Numbers with their names in quotes, sorted; of several names the first.
    names: Box<[(i32, Box<[u8]>)]>,
}

impl Plans {
    pub(crate) fn message(&self, id: MessageId) -> &MessagePlan {
        &self.messages[id.0 as usize]
    }

    pub(crate) fn enumeration(&self, id: EnumId) -> &EnumPlan {
        &self.enums[id.0 as usize]
    }

    pub(crate) fn find(&self, full_name: &str) -> Option<MessageId> {
        self.by_name.get(full_name).copied().map(MessageId)
    }
}

impl MessagePlan {
    /// The index of the field with a number.
    pub(crate) fn index_of(&self, number: u32) -> Option<usize> {
        match self.small_numbers.get(number as usize) {
            Some(index) => (*index as usize).checked_sub(1),
            None => self.fields.binary_search_by_key(&number, |field| field.number).ok(),
        }
    }

    /// The field with a number, in a message whose shape guarantees it.
    pub(crate) fn fixed(&self, number: u32) -> &FieldPlan {
        &self.fields[self.index_of(number).unwrap_or_default()]
    }
}

impl Kind {
    pub(crate) fn wire_type(self) -> WireType {
        match self {
            Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 | Self::Sint32 | Self::Sint64 => WireType::Varint,
            Self::Bool | Self::Enum(_) => WireType::Varint,
            Self::Fixed32 | Self::Sfixed32 | Self::Float => WireType::Fixed32,
            Self::Fixed64 | Self::Sfixed64 | Self::Double => WireType::Fixed64,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Length,
            Self::Group(_) => WireType::StartGroup,
        }
    }

    pub(crate) fn message(self) -> Option<MessageId> {
        match self {
            Self::Message(id) | Self::Group(id) => Some(id),
            _ => None,
        }
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(
            self,
            Self::Int32
                | Self::Int64
                | Self::Uint32
                | Self::Uint64
                | Self::Sint32
                | Self::Sint64
                | Self::Fixed32
                | Self::Fixed64
                | Self::Sfixed32
                | Self::Sfixed64
        )
    }

    /// Whether lists of the type may be packed.
    pub(crate) fn is_packable(self) -> bool {
        !matches!(self.wire_type(), WireType::Length | WireType::StartGroup)
    }
}

impl EnumPlan {
    /// The first name of a number, in quotes.
    pub(crate) fn quoted_name(&self, number: i32) -> Option<&[u8]> {
        let names = &self.names;
        // Most enums count up from zero.
        let dense = usize::try_from(number).ok().and_then(|at| names.get(at)).filter(|(known, _)| *known == number);
        let found =
            dense.or_else(|| names.binary_search_by_key(&number, |(number, _)| *number).ok().map(|at| &names[at]));
        found.map(|(_, name)| &**name)
    }
}
