//! A binding: the HTTP form of a method, with the fields that its parts hold.

mod check;

pub(super) use check::MAX_DEPTH;

use prost_reflect::MethodDescriptor;

use super::{RequestError, RequestOptions};
use super::{
    form::HttpForm,
    template::{Template, Variable},
};
use crate::{FieldPath, Limits, Plan, PrintOptions, Registry, TranscodeError};

/// An HTTP form of a method, compiled.
#[derive(Debug)]
pub struct Binding {
    method: MethodDescriptor,
    http_method: String,
    template: Template,
    pub(super) input: Plan,
    output: Plan,
    /// The fields of the template's variables.
    pub(super) variables: Vec<PathVariable>,
    pub(super) body: Body,
    /// The field that is the response's body. `None`: the whole message.
    response_body: Option<FieldPath>,
    request_http_body: Option<HttpBody>,
    response_http_body: Option<HttpBody>,
}

/// A variable of a path.
#[derive(Debug)]
pub(super) struct PathVariable {
    pub(super) variable: Variable,
    pub(super) field: FieldPath,
}

/// The part of the request that the HTTP body holds.
#[derive(Debug)]
pub(super) enum Body {
    /// Nothing.
    Absent,
    /// All fields that the path does not hold.
    Whole,
    /// One field.
    Field(FieldPath),
}

/// The body is a `google.api.HttpBody`: bytes of any content type instead of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpBody {
    /// The number of the field that holds the `HttpBody`. `None`: the message itself is one.
    pub field: Option<u32>,
}

impl HttpBody {
    /// The number of `HttpBody.content_type`.
    pub const CONTENT_TYPE: u32 = 1;
    /// The number of `HttpBody.data`.
    pub const DATA: u32 = 2;
}

impl Binding {
    /// The method of the service.
    pub fn method(&self) -> &MethodDescriptor {
        &self.method
    }

    /// The HTTP method. `*` is any method.
    pub fn http_method(&self) -> &str {
        &self.http_method
    }

    /// The template of the path.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Whether requests have a body.
    pub fn takes_body(&self) -> bool {
        !matches!(self.body, Body::Absent)
    }

    /// The field of the request that the body holds; `*` for all fields that the path does not hold.
    pub fn body(&self) -> Option<&str> {
        match &self.body {
            Body::Absent => None,
            Body::Whole => Some("*"),
            Body::Field(field) => field.names().next(),
        }
    }

    /// The field of the response that the body holds. `None`: the whole message.
    pub fn response_body(&self) -> Option<&str> {
        self.response_body.as_ref()?.names().next()
    }

    /// Whether the body of a request is a `google.api.HttpBody`. The caller then writes its fields itself.
    pub fn request_http_body(&self) -> Option<HttpBody> {
        self.request_http_body
    }

    /// Whether the body of a response is a `google.api.HttpBody`.
    pub fn response_http_body(&self) -> Option<HttpBody> {
        self.response_http_body
    }

    /// The plan of the request.
    pub fn input(&self) -> &Plan {
        &self.input
    }

    /// The plan of the response.
    pub fn output(&self) -> &Plan {
        &self.output
    }

    /// The messages of the method's descriptors.
    pub fn registry(&self) -> Registry {
        self.input.registry()
    }

    /// Appends the fields of a body in JSON. An empty body sets no field.
    ///
    /// # Errors
    ///
    /// Fails if the body is not the JSON form of the message, or if the method takes no body.
    pub fn append_body(&self, body: &[u8], options: &RequestOptions, out: &mut Vec<u8>) -> Result<(), RequestError> {
        if body.trim_ascii().is_empty() {
            return Ok(());
        }
        match &self.body {
            Body::Absent => return Err(RequestError::MissingBody),
            Body::Whole => self.input.to_proto(body, &options.body, &options.limits, out),
            Body::Field(field) => field.to_proto(body, &options.body, &options.limits, out),
        }
        .map_err(RequestError::Body)
    }

    /// Appends the JSON text of an encoded response: the whole message, or the field of `response_body`.
    ///
    /// # Errors
    ///
    /// Fails if the bytes do not encode the message, if JSON has no form for a value, or if a limit is exceeded.
    pub fn append_response(
        &self,
        message: &[u8],
        options: &PrintOptions,
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<(), TranscodeError> {
        match &self.response_body {
            None => self.output.to_json(message, options, limits, out),
            Some(field) => field.to_json(message, options, limits, out),
        }
    }
}
