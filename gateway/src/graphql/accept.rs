//! The form of the response that the client accepts.

use http::{HeaderMap, StatusCode, header::ACCEPT};

use crate::http::weights::members;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `application/json`: the status of HTTP is that of a success, also if the operation is refused.
    Json,
    /// `application/graphql-response+json`.
    GraphqlJson,
    /// `text/event-stream`.
    Events,
}

impl Form {
    /// The form that the client prefers; `None`: it accepts none. Without a preference it is `application/json`.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(ACCEPT) {
            return Some(Self::Json);
        }
        let mut best: Option<(u16, Self)> = None;
        for (range, weight) in members(headers, &ACCEPT) {
            if let Some(form) = Self::of_range(range).filter(|_| weight > 0)
                && best.is_none_or(|(before, _)| weight > before)
            {
                best = Some((weight, form));
            }
        }
        best.map(|(_, form)| form)
    }

    fn of_range(range: &str) -> Option<Self> {
        let media_type = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            "application/graphql-response+json" => Some(Self::GraphqlJson),
            "text/event-stream" => Some(Self::Events),
            _ => None,
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphqlJson => "application/graphql-response+json; charset=utf-8",
            Self::Events => "text/event-stream",
        }
    }

    /// The status of a response.
    pub(super) fn status(self, is_refused: bool) -> StatusCode {
        match self {
            Self::GraphqlJson if is_refused => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn preferred_form_is_chosen() {
        for (accept, form) in [
            ("application/json", Some(Form::Json)),
            ("*/*", Some(Form::Json)),
            ("application/graphql-response+json; charset=utf-8, application/json;q=0.9", Some(Form::GraphqlJson)),
            ("application/json;q=0.5, application/graphql-response+json", Some(Form::GraphqlJson)),
            ("text/event-stream", Some(Form::Events)),
            ("text/html, */*;q=0.1", Some(Form::Json)),
            ("text/html", None),
            ("application/json;q=0", None),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Form::of(&headers), form, "{accept}");
        }
        assert_eq!(Form::of(&HeaderMap::new()), Some(Form::Json));
    }
}
