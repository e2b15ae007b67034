//! The calls of an operation, with the conversion of their messages and errors.

use std::sync::Arc;

use async_graphql::{Error, ErrorExtensionValues, ErrorExtensions as _, Value};
use bytes::Bytes;
use serde_json::{Value as Json, value::RawValue};
use transcode::{ErrorKind, Limits, ParseOptions, Plan, PrintOptions, Registry, Status, TranscodeError, code_name};

use crate::{
    budget::{Budget, Share},
    caller::{CallError, Caller, Message, RESOURCE_EXHAUSTED},
};

/// `INVALID_ARGUMENT` and `INTERNAL`.
const INVALID_ARGUMENT: i32 = 3;
const INTERNAL: i32 = 13;

/// The JSON of a response, in one line.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) json: Box<RawValue>,
    _share: Share,
}

/// How messages become JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conversion {
    pub(crate) parse: ParseOptions,
    pub(crate) limits: Limits,
}

/// The calls of an operation.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) caller: Arc<dyn Caller>,
    pub(crate) budget: Budget,
    pub(crate) conversion: Conversion,
}

/// The conversion of a method's messages.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    pub(crate) path: String,
    pub(crate) request: Plan,
    pub(crate) response: Plan,
}

impl Messages {
    /// The messages of a method; `None`: the registry does not have them.
    pub(crate) fn of(method: &prost_reflect::MethodDescriptor, registry: &Registry) -> Option<Self> {
        Some(Self {
            path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
            request: registry.message(method.input().full_name())?,
            response: registry.message(method.output().full_name())?,
        })
    }

    /// Encodes a request.
    pub(crate) fn encode(&self, json: &Json, calls: &Calls) -> Result<Vec<u8>, Box<Failed>> {
        let Conversion { parse, limits } = &calls.conversion;
        let mut message = Vec::new();
        let parsed = self.request.to_proto(json.to_string().as_bytes(), parse, limits, &mut message);
        parsed.map(|()| message).map_err(|error| Box::new(Failed::Request(error)))
    }

    /// Decodes a response. Its bytes are given back to the budget, which holds its JSON instead.
    pub(crate) fn decode(&self, message: Message, calls: &Calls) -> Result<Text, Box<Failed>> {
        let print = PrintOptions { always_print_fields_with_no_presence: true, ..PrintOptions::default() };
        let left = calls.budget.left();
        let limits = Limits { output: calls.conversion.limits.output.min(left), ..calls.conversion.limits };
        // JSON is hardly ever shorter than its message. A text that grows is moved, and takes twice its memory.
        let length = message.bytes.len();
        let mut text = Vec::with_capacity(length + length / 4);
        let printed = self.response.to_json(&message.bytes, &print, &limits, &mut text);
        let too_large = || Box::new(Failed::Call(calls.budget.exceeded().into()));
        printed.map_err(|error| match error.kind {
            ErrorKind::TooLong if left < calls.conversion.limits.output => too_large(),
            _ => Box::new(Failed::Response(error)),
        })?;
        drop(message);
        let mut share = calls.budget.share();
        share.hold(text.len()).map_err(|_| too_large())?;
        let internal = |error: String| Box::new(Failed::Call(CallError::new(INTERNAL, error)));
        let text = String::from_utf8(text).map_err(|error| internal(error.to_string()))?;
        let json = RawValue::from_string(text).map_err(|error| internal(error.to_string()))?;
        Ok(Text { json, _share: share })
    }

    /// Makes a unary call with an encoded request.
    pub(crate) async fn call(&self, message: Vec<u8>, calls: &Calls) -> Result<Text, Box<Failed>> {
        let called = calls.caller.call(&self.path, message, &calls.budget).await;
        self.decode(called.map_err(|error| Box::new(Failed::Call(error)))?, calls)
    }

    /// The error of a field.
    pub(crate) fn error(&self, failed: &Failed) -> Error {
        match failed {
            Failed::Call(error) => status(error, &self.response.registry()),
            Failed::Arguments(problem) => Error::new(problem).extend_with(|_, extensions| {
                extensions.set("code", code_name(INVALID_ARGUMENT));
                extensions.set("reason", "JSON_INVALID");
            }),
            Failed::Request(error) if error.kind == ErrorKind::TooLong => {
                Error::new(&error.message).extend_with(|_, extensions| {
                    extensions.set("code", code_name(RESOURCE_EXHAUSTED));
                    extensions.set("reason", "MESSAGE_TOO_LARGE");
                })
            }
            Failed::Request(error) => Error::new(&error.message).extend_with(|_, extensions| {
                extensions.set("code", code_name(INVALID_ARGUMENT));
                extensions.set("reason", "JSON_INVALID");
                let violation = [("field", error.path.as_str()), ("description", error.message.as_str())];
                extensions.set("fieldViolations", Value::List(vec![object(&violation)]));
            }),
            Failed::Response(error) => Error::new(format!("the response cannot be written as JSON: {error}"))
                .extend_with(|_, extensions| {
                    let is_limit = matches!(error.kind, ErrorKind::Limit | ErrorKind::TooLong);
                    extensions.set("code", code_name(if is_limit { RESOURCE_EXHAUSTED } else { INTERNAL }));
                    extensions.set("reason", "JSON_UNAVAILABLE");
                }),
        }
    }
}

/// Why a call has failed.
#[derive(Debug, Clone)]
pub(crate) enum Failed {
    Call(CallError),
    /// The arguments have no form as a request.
    Arguments(String),
    /// The arguments do not fit the request.
    Request(TranscodeError),
    Response(TranscodeError),
}

/// The error of a status: its code, and of its details the reason, the invalid fields and the retry delay.
fn status(error: &CallError, registry: &Registry) -> Error {
    let CallError { code, message, details, reason } = error;
    let details = details_of(*code, details, registry);
    Error::new(message).extend_with(|_, extensions| {
        extensions.set("code", code_name(*code));
        if let Some(reason) = reason {
            extensions.set("reason", *reason);
        }
        for detail in &details {
            extend(extensions, detail);
        }
    })
}

fn details_of(code: i32, details: &Bytes, registry: &Registry) -> Vec<Json> {
    let mut json = Vec::new();
    Status { code, message: "", details }.append_json(registry, &Limits::default(), &mut json);
    let mut status: Json = serde_json::from_slice(&json).unwrap_or_default();
    match status.get_mut("details").map(Json::take) {
        Some(Json::Array(details)) => details,
        _ => Vec::new(),
    }
}

fn extend(extensions: &mut ErrorExtensionValues, detail: &Json) {
    let name = detail["@type"].as_str().and_then(|url| url.rsplit_once('/')).map_or("", |(_, name)| name);
    let members: &[&str] = match name {
        "google.rpc.ErrorInfo" => &["reason", "domain", "metadata"],
        "google.rpc.BadRequest" => &["fieldViolations"],
        "google.rpc.RetryInfo" => &["retryDelay"],
        _ => &[],
    };
    for name in members {
        if let Some(Ok(value)) = detail.get(name).cloned().map(Value::from_json) {
            extensions.set(*name, value);
        }
    }
}

fn object(members: &[(&str, &str)]) -> Value {
    Value::Object(members.iter().map(|(name, value)| (async_graphql::Name::new(name), Value::from(*value))).collect())
}
