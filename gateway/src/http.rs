//! Requests and responses as HTTP: headers, cross-origin rules, the client's address, and the web console.

pub(crate) mod client_address;
pub(crate) mod console;
pub(crate) mod cors;
pub(crate) mod docs;
pub(crate) mod headers;
