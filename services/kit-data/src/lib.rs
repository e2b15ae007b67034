//! The base of the services' data: connection pools and migrations for both databases, the
//! bulkhead of rows, durable jobs, and audit logs.
//!
//! It is separate from `kit`, so that a process without data, such as a gateway, builds no database driver.

pub mod audit;
pub mod bulkhead;
pub mod jobs;
pub mod store;
