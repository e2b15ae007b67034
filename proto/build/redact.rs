//! Keeps secrets and private text out of `Debug`: fields with `[debug_redact = true]` print as `[redacted]`, and a
//! field whose name suggests a secret must have that option.

use std::fmt::Write;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

/// Parts of field names that suggest a secret, an address or text of a user.
const PRIVATE: [&str; 10] =
    ["password", "passphrase", "secret", "token", "cookie", "credential", "email", "text", "title", "passcode"];
/// Field names that contain one of [`PRIVATE`] and hold no secret.
const HARMLESS: [&str; 2] = ["page_token", "next_page_token"];

/// The messages with at least one redacted field, by full name.
pub(crate) fn messages(pool: &DescriptorPool) -> Vec<MessageDescriptor> {
    ours(pool).filter(|message| message.fields().any(|field| is_redacted(&field))).collect()
}

/// Fields that must be redacted and are not, and options that the generator does not support.
pub(crate) fn findings(pool: &DescriptorPool) -> Vec<String> {
    let fields = ours(pool).flat_map(|message| message.fields().collect::<Vec<_>>());
    fields
        .filter_map(|field| match (is_redacted(&field), is_private(&field)) {
            (false, true) => {
                Some(format!("  {} has the name of a secret: add [debug_redact = true]", field.full_name()))
            }
            (true, _) if in_oneof(&field) => {
                Some(format!("  {} is redacted in a oneof: move it to a separate message", field.full_name()))
            }
            _ => None,
        })
        .collect()
}

/// Generates one `impl Debug` for each of `messages`.
pub(crate) fn generate(messages: &[MessageDescriptor]) -> Result<String, String> {
    let mut source = String::new();
    for message in messages {
        writeln!(
            source,
            "impl ::core::fmt::Debug for {} {{\n    \
                 fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
                     f.debug_struct({:?}){}.finish()\n    }}\n}}",
            super::rust_path(message.full_name()),
            message.name(),
            entries(message)
        )
        .map_err(|e| e.to_string())?;
    }
    Ok(source)
}

/// The calls that print the fields, and of a oneof the member that is set.
fn entries(message: &MessageDescriptor) -> String {
    let fields = message.fields().filter(|field| !in_oneof(field)).map(|field| {
        let name = field.name();
        match field.kind() {
            _ if is_redacted(&field) => format!(".field({name:?}, &::core::format_args!(\"[redacted]\"))"),
            Kind::Enum(_) if !field.is_list() && !field.supports_presence() => {
                format!(".field({name:?}, &self.{name}())")
            }
            _ => format!(".field({name:?}, &self.{name})"),
        }
    });
    let oneofs = message
        .oneofs()
        .filter(|oneof| !oneof.is_synthetic())
        .map(|oneof| format!(".field({:?}, &self.{})", oneof.name(), oneof.name()));
    fields.chain(oneofs).collect()
}

fn ours(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages().filter(|message| message.full_name().starts_with("trellis."))
}

fn in_oneof(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic())
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").as_deref().and_then(Value::as_bool).unwrap_or(false)
}

/// Whether the field's name suggests a value that no log may contain.
fn is_private(field: &FieldDescriptor) -> bool {
    let holds_text = matches!(field.kind(), Kind::String | Kind::Bytes);
    let mut words = field.name().split('_').map(|word| word.trim_end_matches('s'));
    holds_text && !HARMLESS.contains(&field.name()) && words.any(|word| PRIVATE.iter().any(|part| word.contains(part)))
}
