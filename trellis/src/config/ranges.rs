//! The values that the numeric keys of the configuration accept.
//!
//! One table holds every number and every duration. A value outside of its range is an error that names the key, so that
//! no setting starts without an effect, overflows, or turns a limit off by accident. `docs/configuration.md` lists the
//! table; a test compares both.

use kit::config::Span;
use toml::{Table, Value};

/// The range of a key. Durations are in milliseconds; fractions are the numbers 0 and 1.
pub(super) struct Range {
    pub(super) key: &'static str,
    pub(super) least: u64,
    pub(super) most: u64,
    pub(super) unit: Unit,
    /// What the value 0 means. `None`: nothing but the number, so that 0 is accepted only within the range.
    pub(super) zero: Option<&'static str>,
    /// What to set instead of a value below the range.
    hint: Option<&'static str>,
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// A whole number.
    Count,
    /// A number with a fraction.
    Share,
    /// A duration.
    Time,
}

const fn count(key: &'static str, least: u64, most: u64) -> Range {
    Range { key, least, most, unit: Unit::Count, zero: None, hint: None }
}

const fn share(key: &'static str) -> Range {
    Range { key, least: 0, most: 1, unit: Unit::Share, zero: None, hint: None }
}

const fn time(key: &'static str, least: u64, most: u64) -> Range {
    Range { key, least, most, unit: Unit::Time, zero: None, hint: None }
}

impl Range {
    const fn zero(mut self, meaning: &'static str) -> Self {
        self.zero = Some(meaning);
        self
    }

    const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// The bound as a user writes it.
    fn written(&self, value: u64) -> String {
        match self.unit {
            Unit::Time => Span(std::time::Duration::from_millis(value)).to_string(),
            Unit::Count | Unit::Share => value.to_string(),
        }
    }

    /// The row of the table in `docs/configuration.md`.
    #[cfg(test)]
    fn row(&self) -> String {
        let zero = self.zero.unwrap_or_default();
        format!("| `{}` | `{}` | `{}` | {zero} |", self.key, self.written(self.least), self.written(self.most))
    }
}

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The longest duration: more would overflow clocks.
const CENTURY: u64 = 36_500 * DAY;
const KIB: u64 = 1_024;
const MIB: u64 = 1_024 * KIB;
const GIB: u64 = 1_024 * MIB;
const MILLION: u64 = 1_000_000;

/// The ranges, in the order of `trellis config`.
pub(super) const RANGES: &[Range] = &[
    share("trace.ratio"),
    // The largest response without pages is the contacts of a user, 10 000 ids.
    count("limits.message_bytes", 512 * KIB, GIB),
    count("limits.header_bytes", 8 * KIB, 16 * MIB),
    count("limits.connections", 1, 10 * MILLION),
    count("limits.streams_per_connection", 1, MILLION),
    count("limits.calls_in_flight", 1, 10 * MILLION),
    time("limits.deadline", 1, DAY),
    time("limits.keepalive", 100, DAY),
    time("limits.connection_age", 100, 365 * DAY).zero("unlimited"),
    time("limits.request_head", 1, HOUR),
    count("limits.discard_bytes", 0, GIB).zero("nothing is discarded, and the connection may be reset"),
    time("limits.discard_time", 0, HOUR).zero("nothing is discarded, and the connection may be reset"),
    count("limits.introspection_streams", 1, MILLION),
    count("limits.networks.ipv6_56", 1, MILLION),
    count("limits.networks.ipv6_48", 1, MILLION),
    count("limits.networks.ipv4_24", 1, MILLION),
    time("shutdown.settle", 0, HOUR).zero("accepting ends at once"),
    time("shutdown.grace", 0, HOUR).zero("calls in progress are aborted at once"),
    time("shutdown.pace", 0, HOUR).zero("all streams end at once"),
    time("identity.keys_refresh", 1, HOUR),
    time("tls.refresh", 1, DAY),
    time("balance.resolve_interval", 100, DAY),
    time("balance.health_interval", 100, DAY).zero("no health checks"),
    time("balance.outlier_interval", 100, DAY),
    count("balance.most_ejected_percent", 0, 100).zero("no ejection"),
    time("balance.slow_start", 0, HOUR).zero("no slow start"),
    count("balance.retry.attempts", 1, 100),
    count("balance.retry.buffer_bytes", 0, GIB).zero("calls with a body are not retried"),
    count("balance.retry.budget_percent", 0, 100).zero("only `balance.retry.budget_per_second` allows retries"),
    count("balance.retry.budget_per_second", 0, MILLION).zero("only `balance.retry.budget_percent` allows retries"),
    time("balance.retry.backoff", 0, HOUR).zero("retries do not wait"),
    time("balance.retry.most_backoff", 1, HOUR),
    time("balance.shed.patience", 1, HOUR),
    count("balance.shed.least_calls", 1, 10 * MILLION),
    count("balance.shed.most_calls", 1, 10 * MILLION),
    time("redis.poll_interval", 100, HOUR),
    time("limiter.budget", 1, SECOND),
    share("limiter.share"),
    count("limiter.lease_from", 1_000, u32::MAX as u64),
    time("database.acquire_timeout", 1, HOUR),
    time("database.lock_timeout", 1, HOUR),
    time("database.statement_timeout", 1, HOUR),
    time("database.idle_transaction_timeout", 1, HOUR),
    time("database.client_check", 1, HOUR).zero("PostgreSQL does not check"),
    time("database.peer_timeout", 3 * SECOND, HOUR),
    count("database.row_writers", 1, 10_000),
    count("database.row_queue", 0, MILLION).zero("no change waits: more than `database.row_writers` are refused"),
    time("database.migration_lock_timeout", SECOND, 7 * DAY),
    time("database.migration_statement_timeout", SECOND, 7 * DAY).zero("unlimited"),
    time("database.purge_interval", SECOND, DAY),
    count("jobs.concurrency", 1, 10_000),
    count("jobs.concurrency_per_kind", 1, 10_000),
    time("jobs.poll_interval", 10, HOUR),
    time("jobs.lease", SECOND, DAY),
    time("jobs.timeout", SECOND, DAY),
    count("jobs.attempts", 1, u32::MAX as u64),
    count("jobs.lost_leases", 1, u32::MAX as u64),
    time("jobs.backoff", 10, DAY),
    time("jobs.most_backoff", 10, 30 * DAY),
    time("audit.retention", DAY, CENTURY).zero("records are kept forever"),
    time("audit.seal_interval", 10, HOUR),
    count("audit.refusals_per_minute", 1, MILLION),
    count("users.pool_size", 1, 10_000),
    time("users.handle_cooling", SECOND, CENTURY).zero("a former handle is free at once"),
    count("users.cooling_handles", 1, 1_000).hint("to reserve none, set users.handle_cooling = \"0s\""),
    time("users.messaging_timeout", 1, HOUR),
    count("auth.pool_size", 1, 10_000),
    time("auth.access_lifetime", SECOND, HOUR),
    time("auth.refresh_lifetime", SECOND, CENTURY),
    time("auth.session_lifetime", SECOND, CENTURY),
    // The deadline of RefreshToken is 10 s, the timeout of the SDK 20 s.
    time("auth.refresh_grace", 30 * SECOND, HOUR),
    time("auth.admin_code_lifetime", MINUTE, DAY),
    time("auth.users_timeout", 1, HOUR),
    count("auth.hashing_threads", 1, 1_024).zero("one per core, within half of the memory limit"),
    count("auth.hashing_queue", 0, MILLION).zero("no password waits: it is refused while all threads are busy"),
    count("auth.hashing_queue_known", 0, MILLION).zero("no password waits: it is refused while all threads are busy"),
    // The limiter would treat 0 as 1.
    count("auth.attempts_by_address", 1, u32::MAX as u64),
    time("auth.attempts_by_address_period", SECOND, 365 * DAY),
    count("auth.attempts", 1, u32::MAX as u64),
    time("auth.attempts_period", SECOND, 365 * DAY),
    count("auth.attempts_from_address", 1, u32::MAX as u64),
    count("auth.failures", 1, u32::MAX as u64),
    time("auth.failures_period", SECOND, 365 * DAY),
    count("auth.strict_attempts", 1, u32::MAX as u64),
    count("auth.refreshes", 1, u32::MAX as u64),
    count("auth.refreshes_from_address", 1, u32::MAX as u64),
    time("auth.refreshes_period", SECOND, 365 * DAY),
    count("auth.mail.port", 1, 65_535).zero("465 for `implicit`, 587 for `starttls`, 25 without TLS"),
    time("auth.mail.timeout", SECOND, HOUR),
    count("auth.mail.mailbox_size", 1, 10_000),
    // NIST SP 800-63B-4, section 4.2.1.2: 24 hours for recovery codes that are sent by mail.
    time("auth.mail.reset_lifetime", MINUTE, DAY),
    time("auth.mail.verification_lifetime", MINUTE, DAY),
    time("auth.mail.undo_lifetime", HOUR, 30 * DAY),
    count("auth.mail.requests", 1, u32::MAX as u64),
    count("auth.mail.requests_to_address", 1, u32::MAX as u64),
    count("auth.mail.requests_from_address", 1, u32::MAX as u64),
    time("auth.mail.requests_period", SECOND, 365 * DAY),
    time("auth.factors.challenge_lifetime", 30 * SECOND, 15 * MINUTE),
    count("auth.factors.challenge_attempts", 1, 20),
    time("auth.factors.enrolment_lifetime", MINUTE, HOUR),
    // NIST SP 800-63B-4, section 3.2.2.
    count("auth.factors.failures", 3, 100),
    // From OWASP's cheapest parameters to the first recommendation of RFC 9106, section 4.
    count("auth.argon2.memory_kib", 7_168, 2 * MIB),
    count("auth.argon2.passes", 1, 100),
    count("auth.argon2.lanes", 1, 16),
    count("messaging.pool_size", 1, 10_000),
    count("messaging.conversations_per_user", 1, MILLION),
    count("messaging.added_conversations_per_user", 0, MILLION).zero("no user can be added directly"),
    count("messaging.requests_per_user", 0, MILLION).zero("no requests"),
    count("messaging.invitations_per_user", 0, MILLION).zero("no invitations"),
    count("messaging.sent_invitations_per_user", 0, MILLION).zero("no requests and no invitations"),
    time("messaging.invitation_lifetime", SECOND, CENTURY),
    count("messaging.blocked_per_user", 1, MILLION),
    // A few of the longest texts.
    count("messaging.conversation_bytes", 64 * KIB, 1_024 * GIB),
    count("messaging.user_bytes", 64 * KIB, 1_024 * GIB),
    count("messaging.edits_per_message", 0, MILLION).zero("messages cannot be edited"),
    count("messaging.contact_rows", 1, 100 * MILLION),
    count("messaging.listed_rows_per_user", 1, MILLION),
    count("messaging.streams_per_session", 1, MILLION),
    count("messaging.streams_per_user", 1, MILLION),
    count("messaging.undelivered_bytes", 64 * KIB, GIB),
    time("messaging.heartbeat", 10, HOUR),
    // The SDK leaves a stream after 60 s of silence.
    time("messaging.database_patience", 0, 40 * SECOND).zero("streams end at the first failure"),
    time("messaging.read_marks_interval", 0, HOUR).zero("each change is published at once"),
    time("messaging.users_timeout", 1, HOUR),
    count("gateway.default_rate_requests", 1, u32::MAX as u64),
    time("gateway.default_rate_period", SECOND, 365 * DAY),
    time("gateway.authorization.timeout", 1, MINUTE),
    count("gateway.threads", 0, 1_024).zero("the threads of the process share all connections"),
    count("gateway.upstream_connections", 1, MILLION),
    // A call of a browser through a proxy has about this many header fields.
    count("gateway.header_count", 20, 10_000),
    count("gateway.connections_per_address", 1, 10 * MILLION),
    count("gateway.sockets_per_address", 1, 10 * MILLION),
    time("gateway.idle_timeout", 1, 365 * DAY),
    time("gateway.drain_idle", 0, HOUR).zero("connections without a request are closed at once"),
    time("gateway.stall_timeout", 1, DAY),
    count("gateway.stalled_response_bytes", MIB, 1_024 * GIB),
    time("gateway.descriptors_refresh", 1, DAY),
    count("gateway.json.response_bytes", 64 * KIB, GIB),
    // transcode::Limits::MAX_DEPTH: each level uses stack.
    count("gateway.json.depth", 1, 200),
    count("gateway.json.elements", 1, 100 * MILLION),
    time("gateway.json.heartbeat", 100, HOUR),
    time("gateway.json.retry", 100, HOUR).zero("the client decides"),
    count("gateway.compression.least_bytes", 0, GIB).zero("bodies of every size are compressed"),
    // One response occupies a thread while its body is compressed.
    count("gateway.compression.most_bytes", KIB, 64 * MIB),
    count("gateway.compression.level", 1, 9),
    count("gateway.graphql.query_bytes", KIB, MIB),
    count("gateway.graphql.depth", 1, 60),
    count("gateway.graphql.complexity", 1, MILLION),
    count("gateway.graphql.root_fields", 1, 1_000),
    count("gateway.graphql.aliases", 0, 10_000).zero("no aliases"),
    count("gateway.graphql.directives", 0, 10_000).zero("no directives"),
    count("gateway.graphql.argument_bytes", KIB, GIB),
    count("gateway.graphql.response_bytes", 64 * KIB, GIB),
    count("gateway.graphql.automatic_persisted_bytes", 64 * KIB, GIB).zero("no documents are remembered"),
    time("gateway.graphql.init_timeout", 100, HOUR),
    count("gateway.graphql.operations_per_socket", 1, 10_000),
    time("gateway.tls.hsts", SECOND, CENTURY).zero("no header"),
];

/// Checks all keys. `config` is the whole configuration as a table.
pub(super) fn check(config: &Table) -> Result<(), String> {
    RANGES.iter().try_for_each(|range| match find(config, range.key) {
        Some(value) => range.check(value),
        None => Err(format!("{}: is missing", range.key)),
    })
}

/// The value of a dotted key.
pub(super) fn find<'a>(config: &'a Table, key: &str) -> Option<&'a Value> {
    let (parents, name) = key.rsplit_once('.').unwrap_or(("", key));
    let inner = |table: &'a Table, part| table.get(part)?.as_table();
    parents.split('.').filter(|part| !part.is_empty()).try_fold(config, inner)?.get(name)
}

impl Range {
    fn check(&self, value: &Value) -> Result<(), String> {
        let Self { key, least, most, .. } = self;
        let number = match value {
            // Only whole numbers up to 1 are shares, so that the comparison is exact.
            Value::Float(share) if (0.0..=1.0).contains(share) => return Ok(()),
            Value::Float(share) => return Err(format!("{key}: {share} is not between {least} and {most}")),
            Value::Integer(number) => u64::try_from(*number).unwrap_or_default(),
            Value::String(text) => millis(text)?,
            _ => return Err(format!("{key}: is not a number")),
        };
        let written = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self.zero {
            Some(_) if number == 0 => Ok(()),
            _ if number < *least => {
                let least = self.written(*least);
                let zero = self.zero.map(|meaning| format!(", and 0 means: {meaning}")).unwrap_or_default();
                let hint = self.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                Err(format!("{key}: {written} is below the minimum of {least}{zero}{hint}"))
            }
            _ if number > *most => Err(format!("{key}: {written} is above the maximum of {}", self.written(*most))),
            _ => Ok(()),
        }
    }
}

fn millis(text: &str) -> Result<u64, String> {
    let Span(time) = text.parse()?;
    Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
