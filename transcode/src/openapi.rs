//! The OpenAPI 3.1 description of the HTTP forms of services.
//!
//! Documentation comes from the comments of the contracts, if the descriptor set has its source information. Schemas
//! have the rules of `buf.validate` that JSON Schema can express. The policy `trellis.policy.v1.method` gives security
//! requirements and `x-rate-limit`.

mod comments;
mod operation;
mod options;
mod parameters;
mod paths;
mod rules;
mod schemas;
#[cfg(test)]
mod tests;
mod well_known;

use prost_reflect::{DescriptorPool, ServiceDescriptor};
use serde_json::{Map, Value, json};

use crate::http_rule::Binding;
use comments::Comments;
use operation::Operations;
use paths::Paths;
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
    /// The content type of responses that are streams.
    pub stream_content_type: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            title: "API".into(),
            version: "1".into(),
            description: String::new(),
            servers: Vec::new(),
            stream_content_type: "application/x-ndjson".into(),
        }
    }
}

/// Describes `bindings`, whose methods belong to one pool.
pub fn document(bindings: &[&Binding], options: &Options) -> Value {
    let pool = bindings.first().map_or_else(DescriptorPool::new, |binding| binding.method().parent_pool().clone());
    let mut services: Vec<&ServiceDescriptor> = Vec::new();
    for binding in bindings {
        if !services.contains(&binding.method().parent_service()) {
            services.push(binding.method().parent_service());
        }
    }
    let comments = Comments::of(&pool);
    let mut schemas = Schemas::new(&comments);
    let mut paths = Paths::default();
    let mut operations = Operations::new(&comments, options);
    for binding in bindings {
        // OpenAPI has no place for other HTTP methods.
        if let Some(field) = paths::field_of(binding.http_method()) {
            let place = paths.place(binding.template());
            paths.insert(&place, field, operations.of(binding, &place, &mut schemas));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": info(options),
        "servers": options.servers.iter().map(|url| json!({"url": url})).collect::<Vec<_>>(),
        "tags": services.into_iter().map(|service| tag(service, &comments)).collect::<Vec<_>>(),
        "paths": paths.into_value(),
        "components": {
            "schemas": schemas.into_value(),
            "responses": {"Error": operation::error_response()},
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
