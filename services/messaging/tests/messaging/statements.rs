//! Records the SQL statements of a future: sqlx logs each one inside the caller's span.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex},
};

use tracing::{
    Event, Instrument as _, Subscriber,
    field::{Field, Visit},
    span::Id,
};
use tracing_subscriber::{
    Layer, Registry, filter::filter_fn, layer::Context, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// The target of sqlx's log events for statements.
const STATEMENTS: &str = "sqlx::query";

static RECORDED: LazyLock<Mutex<HashMap<Id, Vec<String>>>> = LazyLock::new(|| {
    // Global for all tests of this process: SQLite's statements run on threads of sqlx.
    Registry::default().with(Recorder.with_filter(filter_fn(|m| m.is_span() || m.target() == STATEMENTS))).init();
    Mutex::default()
});

struct Recorder;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        if let Some(span) = context.event_span(event) {
            RECORDED.lock().unwrap().entry(span.id()).or_default().push(statement.0);
        }
    }
}

/// The beginning of a statement.
#[derive(Default)]
struct Statement(String);

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The result of `work`, and the beginning of each of its statements. Omits those that set up a new connection, because
/// only the first caller runs them.
pub(crate) async fn statements_of<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    LazyLock::force(&RECORDED);
    let span = tracing::info_span!("statements_of");
    let result = work.instrument(span.clone()).await;
    let mut statements = span.id().and_then(|id| RECORDED.lock().unwrap().remove(&id)).unwrap_or_default();
    statements.retain(|statement| !statement.starts_with("PRAGMA") && !statement.contains("pg_type"));
    (result, statements)
}
