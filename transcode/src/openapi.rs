//! The OpenAPI 3.1 description of the HTTP forms of services.
//!
//! Documentation comes from the comments of the contracts, if the descriptor set has its source information. Schemas
//! have the rules of `buf.validate` that JSON Schema can express. The policy `trellis.policy.v1.method` gives security
//! requirements and `x-rate-limit`. The errors of an operation are those that every method can have, and those whose codes
//! the comments of the method and of its request's fields name.

mod comments;
mod errors;
mod operation;
mod options;
mod parameters;
mod paths;
mod rules;
pub mod samples;
mod schemas;
#[cfg(test)]
mod tests;
mod well_known;

use prost_reflect::{DescriptorPool, ServiceDescriptor};
use serde_json::{Map, Value, json};

use crate::http_rule::Binding;
pub use comments::Comments;
use operation::Operations;
use paths::Paths;
pub use rules::is_required;
use schemas::Schemas;

/// What the descriptors do not contain.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of the API.
    pub title: String,
    /// The version of the document.
    pub version: String,
    /// What the API is for, in Markdown. Empty for nothing.
    pub description: String,
    /// The base URLs. Empty: the server of the document.
    pub servers: Vec<String>,
    /// The maximum size of the message of a request, if it is to be stated.
    pub message_bytes: Option<usize>,
    /// Whether unknown fields of requests are errors.
    pub refuses_unknown: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            title: "API".into(),
            version: "1".into(),
            description: String::new(),
            servers: Vec::new(),
            message_bytes: None,
            refuses_unknown: true,
        }
    }
}

/// An HTTP form to describe.
#[derive(Debug, Clone)]
pub struct Form<'a> {
    /// The form.
    pub binding: &'a Binding,
    /// What the server adds to it.
    pub terms: Terms,
}

/// What a server adds to the HTTP form of a method.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Whether a call needs the access token of a user. `None`: the policy in the contract decides.
    pub needs_user: Option<bool>,
    /// Whether the call reads a cookie, which pages of some origins may not use.
    pub reads_cookie: bool,
    /// The field of the request that `Idempotency-Key` sets.
    pub idempotency_key: Option<String>,
    /// Whether `If-Match` sets the `etag` of the request.
    pub if_match: bool,
    /// Whether the response has an `ETag` from its message.
    pub has_etag: bool,
    /// Whether the comments of the contract may omit errors of the service.
    pub is_open: bool,
    /// Whether the service may state the status of a successful response, and some of its headers.
    pub states_status: bool,
}

/// Describes `forms`, whose methods belong to one pool.
pub fn document(forms: &[Form<'_>], options: &Options) -> Value {
    let pool = forms.first().map_or_else(DescriptorPool::new, |form| form.binding.method().parent_pool().clone());
    let comments = Comments::of(&pool);
    let mut schemas = Schemas::new(&comments, options.refuses_unknown);
    let mut paths = Paths::default();
    let mut operations = Operations::new(&comments, options);
    let mut services: Vec<ServiceDescriptor> = Vec::new();
    for form in forms {
        let (binding, method) = (form.binding, form.binding.method());
        // A stream of requests has an HTTP form only if it is one body of bytes. OpenAPI has no place for other HTTP methods.
        let has_form = !method.is_client_streaming() || binding.request_http_body().is_some();
        let Some(field) = paths::field_of(binding.http_method()).filter(|_| has_form) else { continue };
        let place = paths.place(binding.template());
        paths.insert(&place, field, operations.of(form, &place, &mut schemas));
        let service = method.parent_service();
        if !services.contains(service) {
            services.push(service.clone());
        }
    }
    let mut schemas = schemas.into_members();
    schemas.extend(errors::schemas());
    json!({
        "openapi": "3.1.0",
        "info": info(options),
        "servers": options.servers.iter().map(|url| json!({"url": url})).collect::<Vec<_>>(),
        "tags": services.iter().map(|service| tag(service, &comments)).collect::<Vec<_>>(),
        "paths": paths.into_value(),
        "components": {
            "schemas": schemas,
            "responses": errors::responses(),
            "headers": errors::headers(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    })
}

fn info(options: &Options) -> Value {
    let mut info = Map::new();
    info.insert("title".into(), options.title.as_str().into());
    info.insert("version".into(), options.version.as_str().into());
    if !options.description.is_empty() {
        info.insert("description".into(), options.description.as_str().into());
    }
    info.into()
}

fn tag(service: &ServiceDescriptor, comments: &Comments) -> Value {
    let mut tag = Map::new();
    tag.insert("name".into(), service.full_name().into());
    if let Some(text) = comments.get(service.parent_file().name(), service.path()) {
        tag.insert("description".into(), text.into());
    }
    tag.into()
}
