//! The base of the services' data: connection pools and migrations for both databases, the
//! bulkhead of rows, and durable jobs.
//!
//! It is separate from `kit`, so that a process without data, such as a gateway, builds no database driver.

pub mod bulkhead;
pub mod jobs;
pub mod store;
