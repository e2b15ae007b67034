//! The objects of responses.

use std::{collections::BTreeSet, sync::Arc};

use async_graphql::dynamic::{Field, Object, SchemaBuilder, TypeRef};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::Parts;
use crate::{
    arguments::Paging,
    costs::{CALL, Costs, FIELD},
    names::{self, Use},
    output::{self, Count, Keys, OutputField, Shape},
    references,
};

/// The page of a connection.
const PAGE_INFO: &str = "PageInfo";

impl Parts<'_> {
    pub(super) fn register_objects(
        &self,
        mut schema: SchemaBuilder,
        costs: &mut Costs,
    ) -> Result<SchemaBuilder, String> {
        for (source, message, paging) in &self.reached.outputs {
            schema = schema.register(self.object(*source, message, paging.as_ref(), costs)?);
        }
        let is_paged = self.reached.outputs.iter().any(|(_, _, paging)| paging.is_some());
        Ok(if is_paged { schema.register(page_info(costs)) } else { schema })
    }

    fn object(
        &self,
        source: usize,
        message: &MessageDescriptor,
        paging: Option<&Paging>,
        costs: &mut Costs,
    ) -> Result<Object, String> {
        let of = if paging.is_some() { Use::Connection } else { Use::Output };
        let name = self.names.get(source, message.full_name(), of);
        let mut object = Object::new(name);
        if let Some(text) = self.comments[source].get(message.parent_file().name(), message.path()) {
            object = object.description(text);
        }
        let mut taken = BTreeSet::new();
        for field in message.fields() {
            let Some(field_name) = output::name(&field, paging) else { continue };
            if !taken.insert(field_name.clone()) {
                return Err(format!("{} has two fields with the name {field_name} in GraphQL", message.full_name()));
            }
            object = object.field(self.field(source, name, &field, &field_name, costs));
        }
        if paging.is_some() {
            if !taken.insert("pageInfo".to_owned()) {
                return Err(format!("{} pages a list, and has a field with the name pageInfo", message.full_name()));
            }
            costs.add(name, "pageInfo", PAGE_INFO, FIELD);
            let field = Field::new("pageInfo", TypeRef::named_nn(PAGE_INFO), |context| output::page_info(&context));
            object = object.field(field.description("Where the next page begins."));
        }
        for field in message.fields() {
            object = match self.reference(name, &field, &mut taken, costs)? {
                Some(reference) => object.field(reference),
                None => object,
            };
        }
        Ok(object)
    }

    fn field(&self, source: usize, parent: &str, field: &FieldDescriptor, name: &str, costs: &mut Costs) -> Field {
        let (of, shape) = self.output_type(source, &field.kind(), Use::Output);
        costs.add(parent, name, &of, FIELD);
        let count = match field.kind() {
            Kind::Message(entry) if field.is_map() => Count::Map(Keys::of_entry(&entry)),
            _ if field.is_list() => Count::List,
            _ => Count::One,
        };
        // A number may not be finite, and null is a JSON value.
        let has_null = matches!(shape, Shape::Float) || of == "JSON";
        // An enum may have a value that the contract does not know.
        let may_be_null = field.supports_presence() || has_null || matches!(shape, Shape::Enum(_));
        let type_ref = match count {
            Count::List if has_null => TypeRef::named_list_nn(of),
            Count::Map(_) | Count::List => TypeRef::named_nn_list_nn(of),
            Count::One if may_be_null => TypeRef::named(of),
            Count::One => TypeRef::named_nn(of),
        };
        let resolved = Arc::new(OutputField { json_name: field.json_name().to_owned(), shape, count });
        let mut built = Field::new(name, type_ref, move |context| resolved.resolve(&context));
        if let Some(text) = self.field_comment(source, field) {
            built = built.description(text);
        }
        let is_deprecated = field.field_descriptor_proto().options.as_ref().is_some_and(|of| of.deprecated());
        if is_deprecated { built.deprecation(None) } else { built }
    }

    /// The field with the object to which a field refers.
    fn reference(
        &self,
        parent: &str,
        field: &FieldDescriptor,
        taken: &mut BTreeSet<String>,
        costs: &mut Costs,
    ) -> Result<Option<Field>, String> {
        let Some(target) = self.batches.target(field) else { return Ok(None) };
        let name = references::name(field, target);
        if !taken.insert(name.clone()) {
            return Err(format!("{}: the name {name} of the reference is taken", field.full_name()));
        }
        let of = self.names.get(target.source, target.message.full_name(), Use::Output);
        costs.add(parent, &name, of, CALL);
        let (batch, json_name) = (target.batch, field.json_name().to_owned());
        let by = names::field(field);
        Ok(Some(if field.is_list() {
            let text = format!("The objects with the ids of `{by}`. Those that do not exist are left out.");
            Field::new(name, TypeRef::named_nn_list(of), move |context| references::many(context, &json_name, batch))
                .description(text)
        } else {
            let text = format!("The object with the id of `{by}`; null if it does not exist.");
            Field::new(name, TypeRef::named(of), move |context| references::one(context, &json_name, batch))
                .description(text)
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

fn page_info(costs: &mut Costs) -> Object {
    let field = |name: &'static str, type_ref: TypeRef| {
        let resolved = OutputField { json_name: name.to_owned(), shape: Shape::Scalar, count: Count::One };
        Field::new(name, type_ref, move |context| resolved.resolve(&context))
    };
    costs.add(PAGE_INFO, "endCursor", TypeRef::STRING, FIELD);
    costs.add(PAGE_INFO, "hasNextPage", TypeRef::BOOLEAN, FIELD);
    let cursor = field("endCursor", TypeRef::named(TypeRef::STRING));
    let has_next = field("hasNextPage", TypeRef::named_nn(TypeRef::BOOLEAN));
    Object::new(PAGE_INFO)
        .description("Where the next page of a list begins.")
        .field(cursor.description("The value of `after` that requests the next page; null on the last page."))
        .field(has_next.description("Whether there may be another page."))
}
