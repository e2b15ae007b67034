//! Checks the option `trellis.resource.v1.references`: a reference to a message that no batch method returns would do
//! nothing.

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

const REFERENCES: &str = "trellis.resource.v1.references";

/// The invalid references of a message.
pub(crate) fn findings(pool: &DescriptorPool, message: &MessageDescriptor) -> Vec<String> {
    let finding = |field: FieldDescriptor| {
        let options = field.options();
        let (_, target) = options.extensions().find(|(extension, _)| extension.full_name() == REFERENCES)?;
        let target = target.as_str().unwrap_or_default();
        let why = if field.kind() != Kind::String || field.is_map() {
            "the field is no string".to_owned()
        } else if !pool.services().any(|service| service.methods().any(|method| is_batch(&method, target))) {
            format!("no method BatchGet… returns a list of {target}")
        } else {
            return None;
        };
        Some(format!("  {}: ({REFERENCES}) = {target:?} has no effect: {why}", field.full_name()))
    };
    message.fields().filter_map(finding).collect()
}

/// Whether a method returns many messages by their ids. `graphql/src/references.rs` finds the method in the same way.
fn is_batch(method: &MethodDescriptor, target: &str) -> bool {
    let only = |message: MessageDescriptor| {
        let mut lists = message.fields().filter(FieldDescriptor::is_list);
        lists.next().filter(|_| lists.next().is_none())
    };
    let Some((ids, objects)) = only(method.input()).zip(only(method.output())) else { return false };
    let Kind::Message(object) = objects.kind() else { return false };
    let has_id = ids.name().strip_suffix('s').is_some_and(|id| object.get_field_by_name(id).is_some());
    method.name().starts_with("BatchGet") && object.full_name() == target && has_id
}
