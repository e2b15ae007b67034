//! The JSON of fields for which serde's derive differs from protobuf's JSON mapping.

/// Whether a field has its default value, which JSON omits.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// 64-bit integers as strings.
pub(super) mod quoted {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in super::super) fn serialize<S: Serializer>(value: &i64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        <&str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Enum values by name.
pub(super) mod state {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::records::State;

    pub(in super::super) fn serialize<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
        State::try_from(*value).unwrap_or(State::Unspecified).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
        State::deserialize(from).map(|state| state as i32)
    }
}

/// Timestamps as RFC 3339.
pub(super) mod timestamp {
    use prost_types::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(time) => to.collect_str(time),
            None => to.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        <&str>::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
    }
}
