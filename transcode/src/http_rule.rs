//! The HTTP forms of methods: `google.api.http`.
//!
//! A [`RouteTable`] is made once from the descriptors of methods. It finds the [`Binding`] of a request, and makes the
//! protobuf request from the path, the query string and the JSON body. The rules are those of `google/api/http.proto`.
//! Where that page leaves a choice:
//!
//! - Paths match as `router.rs` describes: by specificity, without a trailing slash, empty segments or dot segments.
//! - A path variable is a singular scalar. Its value decides when the body has another value of the same field.
//! - A query parameter has the JSON name or the proto name of a field. Each field occurs once unless it is repeated, and
//!   a parameter of an unknown field, of the path or of the body is an error.
//! - An empty body sets no field. A binding without `body` refuses one.
//! - `HEAD` is served as `GET`. `OPTIONS` lists the methods of a path.
//! - All text is UTF-8, and malformed percent-encoding is an error.

mod binding;
mod form;
mod http_body;
mod percent;
mod query;
mod request;
mod router;
mod table;
mod template;
#[cfg(test)]
mod tests;

pub use binding::{Binding, HttpBody};
pub use http_body::HttpBodyParts;
pub use query::{QueryError, QueryOptions};
pub use request::{Detached, Found, RequestError, RequestOptions};
pub use router::{Allow, Lookup};
pub use table::{RouteTable, RuleError, RuleErrors};
pub(crate) use template::Segment;
pub use template::{MAX_SEGMENTS, Template, TemplateError};
