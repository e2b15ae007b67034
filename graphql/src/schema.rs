//! Builds the schema: the root fields, and all types that they reach. The executor of async-graphql validates documents
//! against it; its fields have no values, because [`crate::execution`] finds them.

mod inputs;
mod objects;
mod reach;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use async_graphql::dynamic::{
    Enum, EnumItem, Field, FieldFuture, FieldValue, InputValue, Object, Schema, SchemaBuilder, Subscription,
    SubscriptionField, SubscriptionFieldFuture, TypeRef,
};
use futures_util::stream;
use prost_reflect::{EnumDescriptor, Kind, MethodDescriptor};
use transcode::openapi::Comments;

use crate::{
    arguments::{self, Paging},
    calls::Messages,
    fields::{CALL, FIELD, Fields, MUTATION, QUERY, Resolve, RootCall, SUBSCRIPTION, Shape},
    introspection,
    names::{self, Owner, TypeNames, Use},
    nesting,
    references::Batches,
    scalars,
    source::{Method, Source},
};
use reach::Reached;

/// A schema, and what is needed beside it.
pub(crate) struct Built {
    pub(crate) schema: Schema,
    pub(crate) fields: Fields,
    pub(crate) batches: Batches,
}

/// What the parts of a schema are built with.
struct Parts<'a> {
    sources: &'a [Source<'a>],
    reached: Reached,
    names: TypeNames,
    batches: Batches,
    /// The comments of each source.
    comments: Vec<Comments>,
}

/// A root field.
pub(crate) struct Root<'a> {
    pub(crate) name: String,
    source: usize,
    pub(crate) method: &'a Method,
    pub(crate) kind: RootKind,
    pub(crate) paging: Option<Paging>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootKind {
    Query,
    Mutation,
    Subscription,
}

/// Builds the schema of all methods. Methods that read a stream have no form in GraphQL.
pub(crate) fn build(sources: &[Source<'_>]) -> Result<Built, String> {
    let roots = roots(sources)?;
    let batches = Batches::find(sources);
    let reached = Reached::from(&roots, &batches);
    let names = TypeNames::assign(&reached.origins(sources))?;
    let comments = sources.iter().map(comments).collect();
    let parts = Parts { sources, reached, names, batches, comments };
    let mut fields = Fields::default();
    introspection::register(&mut fields);
    let has = |kind| roots.iter().any(|root| root.kind == kind);
    let mutation = has(RootKind::Mutation).then_some(MUTATION);
    let subscription = has(RootKind::Subscription).then_some(SUBSCRIPTION);
    let mut schema = scalars::register(Schema::build(QUERY, mutation, subscription));
    schema = parts.register_enums(schema);
    schema = parts.register_objects(schema, &mut fields)?;
    schema = parts.register_inputs(schema)?;
    schema = schema.register(parts.root_object(QUERY, &roots, RootKind::Query, &mut fields)?);
    if mutation.is_some() {
        schema = schema.register(parts.root_object(MUTATION, &roots, RootKind::Mutation, &mut fields)?);
    }
    if subscription.is_some() {
        schema = schema.register(parts.subscriptions(&roots, &mut fields)?);
    }
    // Validation reads one level more around a `__typename` with directives.
    let schema = schema.limit_recursive_depth(nesting::MOST + 1).finish().map_err(|error| error.to_string())?;
    Ok(Built { schema, fields, batches: parts.batches })
}

fn comments(source: &Source<'_>) -> Comments {
    let pool = source.methods.first().map(|method| method.descriptor.parent_pool().clone());
    pool.map(|pool| Comments::of(&pool)).unwrap_or_default()
}

/// The root fields. Methods of a source with the same name get the name of their service, too.
pub(crate) fn roots<'a>(sources: &'a [Source<'a>]) -> Result<Vec<Root<'a>>, String> {
    let mut taken: HashMap<String, (Owner, &str)> = HashMap::new();
    let mut roots = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        let owner = Owner::of(source.prefix);
        for (name, method) in source_roots(source) {
            let full_name = method.descriptor.full_name();
            if !names::is_valid(&name) {
                return Err(format!("{} has no name in GraphQL: {name} is invalid", owner.describe(full_name)));
            }
            if let Some((other, of)) = taken.insert(name.clone(), (owner.clone(), full_name)) {
                let (one, other) = (other.describe(of), owner.describe(full_name));
                return Err(format!("two methods have the name {name} in GraphQL: {one}, and {other}"));
            }
            let kind = match (method.descriptor.is_server_streaming(), method.is_query()) {
                (true, _) => RootKind::Subscription,
                (false, true) => RootKind::Query,
                (false, false) => RootKind::Mutation,
            };
            roots.push(Root { name, source: at, method, kind, paging: Paging::of(method) });
        }
    }
    Ok(roots)
}

/// The names of the root fields of a source, which no other source changes.
fn source_roots<'a>(source: &'a Source<'_>) -> Vec<(String, &'a Method)> {
    let methods = || source.methods.iter().filter(|method| !method.descriptor.is_client_streaming());
    let candidates = |method: &Method| names::root_fields(source.prefix, &method.descriptor);
    let mut claims: [HashMap<String, usize>; 2] = Default::default();
    for method in methods() {
        for (claims, name) in claims.iter_mut().zip(candidates(method)) {
            *claims.entry(name).or_default() += 1;
        }
    }
    let named = methods().map(|method| {
        let [short, with_service, full] = candidates(method);
        let name = match (claims[0][&short], claims[1][&with_service]) {
            (1, _) => short,
            (_, 1) => with_service,
            _ => full,
        };
        (name, method)
    });
    named.collect()
}

impl Parts<'_> {
    /// The name and the shape of a type of a response.
    fn output_type(&self, source: usize, kind: &Kind, of: Use) -> (String, Shape) {
        if let Some(scalar) = scalars::of(kind) {
            let shape = if scalar == "Float" { Shape::Float } else { Shape::Scalar };
            return (scalar.to_owned(), shape);
        }
        match kind {
            Kind::Enum(of) => {
                let name = self.names.get(source, of.full_name(), Use::Enum).to_owned();
                (name, Shape::Enum(Arc::new(value_names(of))))
            }
            Kind::Message(message) => (self.names.get(source, message.full_name(), of).to_owned(), Shape::Object),
            // All other kinds are scalars.
            _ => ("JSON".to_owned(), Shape::Scalar),
        }
    }

    /// The name of a type of a request.
    fn input_type(&self, source: usize, kind: &Kind) -> String {
        if let Some(scalar) = scalars::of(kind) {
            return scalar.to_owned();
        }
        let (full_name, of) = match kind {
            Kind::Enum(of) => (of.full_name(), Use::Enum),
            Kind::Message(message) => (message.full_name(), Use::Input),
            _ => return "JSON".to_owned(),
        };
        self.names.get(source, full_name, of).to_owned()
    }

    fn register_enums(&self, mut schema: SchemaBuilder) -> SchemaBuilder {
        for (source, of) in &self.reached.enums {
            let comments = &self.comments[*source];
            let file = of.parent_file();
            let mut built = Enum::new(self.names.get(*source, of.full_name(), Use::Enum));
            if let Some(text) = comments.get(file.name(), of.path()) {
                built = built.description(text);
            }
            for value in of.values().filter(|value| is_enum_name(value.name())) {
                let item = EnumItem::new(value.name());
                built = built.item(match comments.get(file.name(), value.path()) {
                    Some(text) => item.description(text),
                    None => item,
                });
            }
            schema = schema.register(built);
        }
        schema
    }

    fn root_object(
        &self,
        name: &str,
        roots: &[Root<'_>],
        kind: RootKind,
        fields: &mut Fields,
    ) -> Result<Object, String> {
        let mut object = Object::new(name);
        let of_kind: Vec<_> = roots.iter().filter(|root| root.kind == kind).collect();
        for root in &of_kind {
            let (call, of) = self.root_call(root)?;
            fields.add(name, &root.name, &of, CALL.saturating_mul(root.method.cost), Resolve::Call(call));
            let mut field = Field::new(&root.name, TypeRef::named(of), |_| FieldFuture::Value(None));
            if let Some(text) = self.comment(root) {
                field = field.description(text);
            }
            if is_deprecated(&root.method.descriptor) {
                field = field.deprecation(None);
            }
            object = object.field(self.arguments(root)?.into_iter().fold(field, Field::argument));
        }
        if of_kind.is_empty() {
            // GraphQL needs a query, but no method is one.
            let field = Field::new("available", TypeRef::named_nn(TypeRef::BOOLEAN), |_| {
                FieldFuture::Value(Some(FieldValue::value(true)))
            });
            fields.add(name, "available", TypeRef::BOOLEAN, FIELD, Resolve::Available);
            object = object.field(field.description("No method is marked as free of side effects: all are mutations."));
        }
        Ok(object)
    }

    fn subscriptions(&self, roots: &[Root<'_>], fields: &mut Fields) -> Result<Subscription, String> {
        let mut object = Subscription::new(SUBSCRIPTION);
        for root in roots.iter().filter(|root| root.kind == RootKind::Subscription) {
            let (call, of) = self.root_call(root)?;
            fields.add(SUBSCRIPTION, &root.name, &of, CALL.saturating_mul(root.method.cost), Resolve::Call(call));
            let mut field = SubscriptionField::new(&root.name, TypeRef::named(of), |_| {
                SubscriptionFieldFuture::new(async { Ok(stream::empty::<async_graphql::Result<FieldValue<'_>>>()) })
            });
            if let Some(text) = self.comment(root) {
                field = field.description(text);
            }
            object = object.field(self.arguments(root)?.into_iter().fold(field, SubscriptionField::argument));
        }
        Ok(object)
    }

    /// The call of a root field, and the name of its type.
    fn root_call(&self, root: &Root<'_>) -> Result<(Box<RootCall>, String), String> {
        let descriptor = root.method.descriptor.clone();
        let messages = Messages::of(&descriptor, self.sources[root.source].registry);
        let messages = messages.ok_or(format!("the messages of {} are unknown", descriptor.full_name()))?;
        let of = if root.paging.is_some() { Use::Connection } else { Use::Output };
        let (name, shape) = self.output_type(root.source, &Kind::Message(descriptor.output()), of);
        Ok((Box::new(RootCall { messages, descriptor, paging: root.paging.clone(), shape }), name))
    }

    /// The fields of the request.
    fn arguments(&self, root: &Root<'_>) -> Result<Vec<InputValue>, String> {
        let request = root.method.descriptor.input();
        if scalars::of_message(&request).is_some() {
            return Ok(Vec::new());
        }
        let mut taken = BTreeSet::new();
        let named = |field| {
            let name = arguments::name(&field, root.paging.as_ref());
            if !taken.insert(name.clone()) {
                let method = root.method.descriptor.full_name();
                return Err(format!("{method} has two arguments with the name {name} in GraphQL"));
            }
            Ok(self.input(root.source, &field, name))
        };
        request.fields().map(named).collect()
    }

    fn comment(&self, root: &Root<'_>) -> Option<&str> {
        let method = &root.method.descriptor;
        self.comments[root.source].get(method.parent_service().parent_file().name(), method.path())
    }
}

fn is_deprecated(method: &MethodDescriptor) -> bool {
    method.method_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated())
}

/// The names of an enum's values.
fn value_names(of: &EnumDescriptor) -> BTreeSet<String> {
    of.values().map(|value| value.name().to_owned()).filter(|name| is_enum_name(name)).collect()
}

/// Whether GraphQL allows the name of an enum value.
fn is_enum_name(name: &str) -> bool {
    names::is_valid(name) && !matches!(name, "true" | "false" | "null")
}
