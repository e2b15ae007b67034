//! The statements that something takes: sqlx tells of each, inside the span of whoever asked for it.

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

/// The target under which sqlx tells of each statement.
const STATEMENTS: &str = "sqlx::query";

static HEARD: LazyLock<Mutex<HashMap<Id, Vec<String>>>> = LazyLock::new(|| {
    // For all tests of this process: those of SQLite run on threads of sqlx's own.
    Registry::default().with(Listener.with_filter(filter_fn(|m| m.is_span() || m.target() == STATEMENTS))).init();
    Mutex::default()
});

struct Listener;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        if let Some(span) = context.event_span(event) {
            HEARD.lock().unwrap().entry(span.id()).or_default().push(statement.0);
        }
    }
}

/// How a statement begins.
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

/// What `work` answers, and how each of its statements begins. Those that only make a new connection ready are left
/// out: whoever asks first happens to pay for them.
pub(crate) async fn heard<T>(work: impl Future<Output = T>) -> (T, Vec<String>) {
    LazyLock::force(&HEARD);
    let span = tracing::info_span!("heard");
    let response = work.instrument(span.clone()).await;
    let mut heard = span.id().and_then(|id| HEARD.lock().unwrap().remove(&id)).unwrap_or_default();
    heard.retain(|statement| !statement.starts_with("PRAGMA") && !statement.contains("pg_type"));
    (response, heard)
}
