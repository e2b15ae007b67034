//! Durable jobs: work that a transaction causes, and that is done after its commit.
//!
//! A service has its own table `jobs`, in a migration of its own. It enqueues a job with [`Queue::enqueue`] **in the
//! transaction that causes it**: both are stored, or neither is. A [`Worker`] in each process of the service claims due
//! jobs, runs them, and deletes those that are done.
//!
//! # Guarantees
//!
//! - **At least once.** A job is deleted only after its handler has returned success. A process that ends before that
//!   loses its lease, and another process runs the job again. Handlers are therefore idempotent.
//! - **One attempt at a time**, as long as the clocks of the processes differ by less than [`JobsConfig::lease`]. The number
//!   of the claim fences each change of the row: an attempt that has lost its lease is stopped and changes nothing.
//! - **A failing job does not block others.** It waits with exponential backoff and jitter, and becomes a dead letter
//!   after [`JobsConfig::attempts`] attempts, or at once after a permanent failure. Dead letters stay in the table until the
//!   operator retries or deletes them (`trellis jobs`). A job whose process ends during each attempt becomes a dead
//!   letter after [`JobsConfig::lost_leases`] attempts. A kind has at most [`JobsConfig::concurrency_per_kind`] of the places.
//! - **Old rows stay readable.** A job is stored as JSON with the version of its type ([`Job`]). A process claims only
//!   kinds and versions that it knows, so that it leaves the jobs of a newer release to processes of that release.
//! - **No polling delay in the same process.** The commit wakes the worker; other processes poll.
//! - **Steps of the clock are harmless.** A row that was changed later than now was changed before the clock was set
//!   back, and is due at once. If the clock jumps forward, jobs run earlier.
//!
//! # Why not a crate
//!
//! Decided in November 2026, for sqlx 0.9, both databases, and the transaction of `store::Pool`. sqlxmq 0.6, underway 0.2
//! and graphile_worker 0.14 are for PostgreSQL only, and the first two use sqlx 0.8. fang 0.11 enqueues on its own pool.
//! apalis 1.0 has both databases on sqlx 0.9, but its functions that take a connection are private. It requires the
//! extension `hstore` and the schema `apalis`, which services would share, and it has its own migrations. It stores times
//! in seconds of the system clock, has no backoff in the store, and reads with pools that bypass the bulkhead and the
//! circuit breaker. Little more than the loop would remain of it.

mod backoff;
mod config;
mod execution;
mod job;
mod measure;
mod next;
mod outcome;
mod queue;
mod running;
mod store;
mod worker;

pub use config::JobsConfig;
pub use job::{Attempt, Job, Unreadable};
pub use outcome::{Failure, Outcome};
pub use queue::{NewJob, Queue};
pub use store::{Database, Filter, Listed, Operator, State};
pub use worker::Worker;
