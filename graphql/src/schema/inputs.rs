//! The input objects, and the arguments of root fields.

use std::collections::BTreeSet;

use async_graphql::dynamic::{InputObject, InputValue, SchemaBuilder, TypeRef};
use prost_reflect::{Cardinality, FieldDescriptor};
use transcode::openapi::is_required;

use super::Parts;
use crate::names::{self, Use};

impl Parts<'_> {
    pub(super) fn register_inputs(&self, mut schema: SchemaBuilder) -> Result<SchemaBuilder, String> {
        for (source, message) in &self.reached.inputs {
            let mut object = InputObject::new(self.names.get(*source, message.full_name(), Use::Input));
            if let Some(text) = self.comments[*source].get(message.parent_file().name(), message.path()) {
                object = object.description(text);
            }
            let mut taken = BTreeSet::new();
            for field in message.fields() {
                let name = names::field(&field);
                if !taken.insert(name.clone()) {
                    return Err(format!("{} has two fields with the name {name} in GraphQL", message.full_name()));
                }
                object = object.field(self.input(*source, &field, name));
            }
            schema = schema.register(object);
        }
        Ok(schema)
    }

    /// A field of a request. Only rules that refuse its absence make it required.
    pub(super) fn input(&self, source: usize, field: &FieldDescriptor, name: String) -> InputValue {
        let of = self.input_type(source, &field.kind());
        let is_key = field.parent_message().is_map_entry() && field.number() == 1;
        let is_required = is_key || is_required(field) || field.cardinality() == Cardinality::Required;
        let type_ref = match (field.is_list() || field.is_map(), is_required) {
            (true, true) => TypeRef::named_nn_list_nn(of),
            (true, false) => TypeRef::named_nn_list(of),
            (false, true) => TypeRef::named_nn(of),
            (false, false) => TypeRef::named(of),
        };
        let value = InputValue::new(name, type_ref);
        match self.field_comment(source, field) {
            Some(text) => value.description(text),
            None => value,
        }
    }
}
