//! The objects of responses.

use std::collections::BTreeSet;

use async_graphql::dynamic::{Field, FieldFuture, Object, SchemaBuilder, TypeRef};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::Parts;
use crate::{
    arguments::{self, Paging},
    fields::{CALL, Count, FIELD, Fields, Keys, Member, Resolve, Shape},
    names::{self, Use},
    references, scalars,
};

/// The page of a connection.
const PAGE_INFO: &str = "PageInfo";

impl Parts<'_> {
    pub(super) fn register_objects(
        &self,
        mut schema: SchemaBuilder,
        table: &mut Fields,
    ) -> Result<SchemaBuilder, String> {
        for (source, message, paging) in &self.reached.outputs {
            schema = schema.register(self.object(*source, message, paging.as_ref(), table)?);
        }
        let is_paged = self.reached.outputs.iter().any(|(_, _, paging)| paging.is_some());
        Ok(if is_paged { schema.register(page_info(table)) } else { schema })
    }

    fn object(
        &self,
        source: usize,
        message: &MessageDescriptor,
        paging: Option<&Paging>,
        table: &mut Fields,
    ) -> Result<Object, String> {
        let of = if paging.is_some() { Use::Connection } else { Use::Output };
        let name = self.names.get(source, message.full_name(), of);
        let mut object = Object::new(name);
        if let Some(text) = self.comments[source].get(message.parent_file().name(), message.path()) {
            object = object.description(text);
        }
        let mut taken = BTreeSet::new();
        for field in message.fields() {
            let Some(field_name) = arguments::output_name(&field, paging) else { continue };
            if !taken.insert(field_name.clone()) {
                return Err(format!("{} has two fields with the name {field_name} in GraphQL", message.full_name()));
            }
            object = object.field(self.field(source, name, &field, &field_name, table));
        }
        if paging.is_some() {
            if !taken.insert("pageInfo".to_owned()) {
                return Err(format!("{} pages a list, and has a field with the name pageInfo", message.full_name()));
            }
            table.add(name, "pageInfo", PAGE_INFO, FIELD, Resolve::PageInfo);
            let field = without_value("pageInfo", TypeRef::named_nn(PAGE_INFO));
            object = object.field(field.description("Where the next page begins."));
        }
        for field in message.fields() {
            object = match self.reference((source, name), &field, &mut taken, table)? {
                Some(reference) => object.field(reference),
                None => object,
            };
        }
        Ok(object)
    }

    fn field(&self, source: usize, parent: &str, field: &FieldDescriptor, name: &str, table: &mut Fields) -> Field {
        let (of, shape) = self.output_type(source, &field.kind(), Use::Output);
        let count = match field.kind() {
            Kind::Message(entry) if field.is_map() => Count::Map(keys_of(&entry)),
            _ if field.is_list() => Count::List,
            _ => Count::One,
        };
        // A number may not be finite, and null is a JSON value.
        let has_null = matches!(shape, Shape::Float) || of == "JSON";
        // An enum may have a value that the contract does not know.
        let may_be_null = field.supports_presence() || has_null || matches!(shape, Shape::Enum(_));
        let type_ref = match count {
            Count::List if has_null => TypeRef::named_list_nn(of.as_str()),
            Count::Map(_) | Count::List => TypeRef::named_nn_list_nn(of.as_str()),
            Count::One if may_be_null => TypeRef::named(of.as_str()),
            Count::One => TypeRef::named_nn(of.as_str()),
        };
        let member = Member { json_name: field.json_name().to_owned(), shape, count };
        table.add(parent, name, &of, FIELD, Resolve::Member(member));
        let mut built = without_value(name, type_ref);
        if let Some(text) = self.field_comment(source, field) {
            built = built.description(text);
        }
        let is_deprecated = field.field_descriptor_proto().options.as_ref().is_some_and(|of| of.deprecated());
        if is_deprecated { built.deprecation(None) } else { built }
    }

    /// The field with the object to which a field refers.
    fn reference(
        &self,
        (source, parent): (usize, &str),
        field: &FieldDescriptor,
        taken: &mut BTreeSet<String>,
        table: &mut Fields,
    ) -> Result<Option<Field>, String> {
        let Some(target) = self.batches.target(source, field) else { return Ok(None) };
        let name = references::name(field, target);
        if !taken.insert(name.clone()) {
            return Err(format!("{}: the name {name} of the reference is taken", field.full_name()));
        }
        let of = self.names.get(target.source, target.message.full_name(), Use::Output);
        let (json_name, batch, is_list) = (field.json_name().to_owned(), target.batch, field.is_list());
        table.add(parent, &name, of, CALL, Resolve::Reference { json_name, batch, is_list });
        let by = names::field(field);
        Ok(Some(if is_list {
            let text = format!("The objects with the ids of `{by}`. Those that do not exist are left out.");
            without_value(&name, TypeRef::named_nn_list(of)).description(text)
        } else {
            let text = format!("The object with the id of `{by}`; null if it does not exist.");
            without_value(&name, TypeRef::named(of)).description(text)
        }))
    }

    /// The comment of a field, with the other members of its oneof.
    pub(super) fn field_comment(&self, source: usize, field: &FieldDescriptor) -> Option<String> {
        let file = field.parent_message().parent_file();
        let comment = self.comments[source].get(file.name(), field.path()).map(str::to_owned);
        let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) else { return comment };
        let members: Vec<_> = oneof.fields().map(|member| format!("`{}`", names::field(&member))).collect();
        let note = format!("At most one of {} is set.", members.join(", "));
        Some(comment.map_or(note.clone(), |comment| format!("{comment} {note}")))
    }
}

/// A field as validation needs it.
fn without_value(name: &str, type_ref: TypeRef) -> Field {
    Field::new(name, type_ref, |_| FieldFuture::Value(None))
}

/// The type of the keys of a map's entry.
fn keys_of(entry: &MessageDescriptor) -> Keys {
    match scalars::of(&entry.map_entry_key_field().kind()) {
        Some("Int" | "UInt32" | "Boolean") => Keys::Others,
        _ => Keys::Strings,
    }
}

fn page_info(table: &mut Fields) -> Object {
    table.add(PAGE_INFO, "endCursor", TypeRef::STRING, FIELD, Resolve::EndCursor);
    table.add(PAGE_INFO, "hasNextPage", TypeRef::BOOLEAN, FIELD, Resolve::HasNextPage);
    let cursor = without_value("endCursor", TypeRef::named(TypeRef::STRING));
    let has_next = without_value("hasNextPage", TypeRef::named_nn(TypeRef::BOOLEAN));
    Object::new(PAGE_INFO)
        .description("Where the next page of a list begins.")
        .field(cursor.description("The value of `after` that requests the next page; null on the last page."))
        .field(has_next.description("Whether there may be another page."))
}
