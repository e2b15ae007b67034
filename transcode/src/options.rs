//! The options and limits of a conversion.

/// Options for JSON input. The names follow Google's protobuf libraries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Ignore unknown fields and unknown names of enum values instead of refusing them.
    ///
    /// An ignored enum name leaves a singular field unset and drops the element or entry of a list or map. Ignored
    /// members must still be JSON.
    pub ignore_unknown_fields: bool,
}

/// Options for JSON output. The names follow Google's protobuf libraries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrintOptions {
    /// Write fields without presence even if they have their default value: zero, `""`, `[]` and `{}`.
    pub always_print_fields_with_no_presence: bool,
    /// Write the field names of the `.proto` file instead of the lowerCamelCase names.
    pub preserve_proto_field_names: bool,
    /// Write enum values as numbers instead of names.
    pub always_print_enums_as_ints: bool,
}

/// Bounds on the work and the memory of a conversion. A message beyond a bound fails with
/// [`ErrorKind::Limit`](crate::ErrorKind::Limit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The bytes of the input. Default: 16 MiB; at most 4 GiB − 1.
    pub input: usize,
    /// The bytes that a conversion may write. Default: 64 MiB.
    pub output: usize,
    /// Messages nested in one another, counted as protobuf decoders count them: map entries, `Struct`, `Value` and
    /// `ListValue` are messages too. JSON that is skipped counts its objects and arrays. Default: 100, as in protobuf's
    /// decoders; at most [`Limits::MAX_DEPTH`].
    pub depth: usize,
    /// List elements, map entries and object members in all. Default: 1 048 576.
    pub elements: usize,
}

impl Limits {
    /// The largest depth: each level uses stack.
    pub const MAX_DEPTH: usize = 200;

    /// The depth that counts.
    pub(crate) fn usable_depth(&self) -> usize {
        self.depth.min(Self::MAX_DEPTH)
    }

    /// The input that counts: positions are 32-bit numbers.
    pub(crate) fn usable_input(&self) -> usize {
        self.input.min(u32::MAX as usize)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { input: 16 << 20, output: 64 << 20, depth: 100, elements: 1 << 20 }
    }
}
