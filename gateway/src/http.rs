//! Requests and responses as HTTP: headers, reserved names, cross-origin rules, the client's address, compression, the web
//! console, and the pages beside it.

pub(crate) mod client_address;
pub(crate) mod compression;
pub(crate) mod console;
pub(crate) mod content_coding;
pub(crate) mod controls;
pub(crate) mod cors;
pub(crate) mod docs;
pub(crate) mod entity_tag;
pub(crate) mod explorer;
pub(crate) mod headers;
pub(crate) mod reserved;
pub(crate) mod stored;
pub(crate) mod weights;
