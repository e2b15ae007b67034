//! The details of a status: messages of any type.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{
    Limits, PrintOptions, Registry,
    json::put_string,
    wire::{Fields, Span, WireType},
};

/// The number of `google.rpc.Status.details`.
const DETAILS: u32 = 3;
/// The numbers of the fields of `google.protobuf.Any`.
const TYPE_URL: u32 = 1;
const VALUE: u32 = 2;

/// Reads the details of an encoded `google.rpc.Status`. Ends where the bytes are no longer an encoded message.
pub(super) struct Details<'a> {
    encoded: &'a [u8],
    fields: Fields<'a>,
}

/// A detail: a `google.protobuf.Any`.
#[derive(Debug, Default)]
pub(super) struct Detail<'a> {
    type_url: &'a str,
    value: &'a [u8],
}

impl<'a> Details<'a> {
    pub(super) fn of(encoded: &'a [u8]) -> Self {
        Self { encoded, fields: fields(encoded) }
    }
}

impl<'a> Iterator for Details<'a> {
    type Item = Detail<'a>;

    fn next(&mut self) -> Option<Detail<'a>> {
        loop {
            let field = self.fields.next().ok()??;
            if field.number == DETAILS && field.wire_type == WireType::Length {
                return Some(Detail::read(field.value.of(self.encoded)));
            }
        }
    }
}

impl<'a> Detail<'a> {
    fn read(encoded: &'a [u8]) -> Self {
        let mut detail = Self::default();
        let mut fields = fields(encoded);
        while let Ok(Some(field)) = fields.next() {
            let bytes = field.value.of(encoded);
            match (field.number, field.wire_type) {
                (TYPE_URL, WireType::Length) => detail.type_url = std::str::from_utf8(bytes).unwrap_or_default(),
                (VALUE, WireType::Length) => detail.value = bytes,
                _ => {}
            }
        }
        detail
    }

    /// Appends the JSON form of the `Any`.
    pub(super) fn append(&self, registry: &Registry, limits: &Limits, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"@type\":");
        put_string(out, self.type_url);
        if self.append_known(registry, limits, out).is_none() {
            out.extend_from_slice(b",\"value\":\"");
            out.extend_from_slice(STANDARD.encode(self.value).as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
    }

    /// Appends the members of a message whose type is known, or its value if its JSON form is not an object of its
    /// fields. Appends nothing if the type is unknown or the message does not decode.
    fn append_known(&self, registry: &Registry, limits: &Limits, out: &mut Vec<u8>) -> Option<()> {
        let (_, name) = self.type_url.rsplit_once('/')?;
        let plan = registry.message(name)?;
        let mut json = Vec::new();
        plan.to_json(self.value, &PrintOptions::default(), limits, &mut json).ok()?;
        if !plan.is_object() {
            out.extend_from_slice(b",\"value\":");
            out.extend(json);
            return Some(());
        }
        let members = json.strip_prefix(b"{")?.strip_suffix(b"}")?;
        if !members.is_empty() {
            out.push(b',');
            out.extend_from_slice(members);
        }
        Some(())
    }
}

/// The fields of a message. A message beyond 4 GiB, which no header holds, has none.
fn fields(encoded: &[u8]) -> Fields<'_> {
    let end = u32::try_from(encoded.len()).unwrap_or_default();
    Fields::new(encoded, Span { start: 0, end }, Limits::default().depth)
}
