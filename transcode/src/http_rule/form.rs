//! The HTTP forms that a method declares with the option `google.api.http`.

use prost_reflect::{DynamicMessage, MethodDescriptor};

use super::template::Template;

/// The number of the extension `google.api.http` of `google.protobuf.MethodOptions`.
const HTTP: u32 = 72_295_728;

/// The fields of a rule that name an HTTP method.
const METHODS: [(&str, &str); 5] =
    [("get", "GET"), ("put", "PUT"), ("post", "POST"), ("delete", "DELETE"), ("patch", "PATCH")];

/// An HTTP form of a method.
#[derive(Debug, Clone)]
pub(super) struct HttpForm {
    /// `*` is any method.
    pub(super) http_method: String,
    pub(super) template: Template,
    /// `*`, the name of a field of the request, or empty.
    pub(super) body: String,
    /// The name of a field of the response, or empty.
    pub(super) response_body: String,
}

impl HttpForm {
    /// The forms of a method: its rule, and the additional bindings of the rule. Empty without a rule.
    pub(super) fn of(method: &MethodDescriptor) -> Result<Vec<Self>, String> {
        let options = method.options();
        let rule = options.extensions().find(|(extension, _)| extension.number() == HTTP);
        let Some(rule) = rule.and_then(|(_, value)| value.as_message().cloned()) else { return Ok(Vec::new()) };
        let mut forms = vec![Self::read(&rule)?];
        for additional in additional(&rule) {
            if additional.has_field_by_name("additional_bindings") {
                return Err("an additional binding of `google.api.http` has additional bindings: move them into the \
                            list of the method's own rule"
                    .into());
            }
            forms.push(Self::read(&additional)?);
        }
        Ok(forms)
    }

    fn read(rule: &DynamicMessage) -> Result<Self, String> {
        let (http_method, path) = pattern(rule)?;
        let template = Template::parse(&path).map_err(|e| format!("the path `{path}` of `google.api.http`: {e}"))?;
        Ok(Self { http_method, template, body: text(rule, "body"), response_body: text(rule, "response_body") })
    }
}

/// The HTTP method and the path of a rule.
fn pattern(rule: &DynamicMessage) -> Result<(String, String), String> {
    if let Some((field, http_method)) = METHODS.iter().find(|(field, _)| rule.has_field_by_name(field)) {
        return Ok(((*http_method).to_owned(), text(rule, field)));
    }
    let custom = rule.has_field_by_name("custom").then(|| rule.get_field_by_name("custom")).flatten();
    let Some(custom) = custom.as_deref().and_then(|value| value.as_message()) else {
        return Err("a rule of `google.api.http` has no path: set get, put, post, delete, patch or custom".into());
    };
    let kind = text(custom, "kind");
    if !is_token(&kind) {
        return Err(format!("`custom.kind` is {kind:?}: set an HTTP method such as `HEAD`, or `*` for all methods"));
    }
    Ok((kind, text(custom, "path")))
}

/// Whether a text is the name of an HTTP method (RFC 9110, section 5.6.2). `*` is a token too.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn additional(rule: &DynamicMessage) -> Vec<DynamicMessage> {
    let bindings = rule.get_field_by_name("additional_bindings");
    let list = bindings.as_deref().and_then(|value| value.as_list()).unwrap_or_default();
    list.iter().filter_map(|value| value.as_message().cloned()).collect()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_deref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}
