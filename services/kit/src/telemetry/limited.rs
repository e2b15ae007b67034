//! Limits log lines that a peer can cause at will: a few per period are logged, the others are counted.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// The libraries whose lines peers cause. h2 warns once for each connection that it ends because of too many resets.
const TARGETS: [&str; 1] = ["h2"];
/// The number of their lines logged per period.
const LINES: u32 = 10;
/// The period of `LINES`.
const PERIOD: Duration = Duration::from_secs(10);

/// Passes a limited number of lines of [`TARGETS`]. `log_lines_dropped_total` counts the others.
#[derive(Default)]
pub(super) struct Limited(Mutex<Option<Period>>);

struct Period {
    began: Instant,
    lines: u32,
}

impl Limited {
    fn admit(&self) -> bool {
        let now = Instant::now();
        let mut period = self.0.lock();
        let current = match period.take() {
            Some(current) if now < current.began + PERIOD => Period { lines: current.lines + 1, ..current },
            _ => Period { began: now, lines: 1 },
        };
        let is_admitted = current.lines <= LINES;
        *period = Some(current);
        is_admitted
    }
}

impl<S> Filter<S> for Limited {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let library = event.metadata().target().split("::").next().unwrap_or_default();
        let Some(target) = TARGETS.into_iter().find(|target| *target == library) else { return true };
        let is_admitted = self.admit();
        if !is_admitted {
            metrics::counter!("log_lines_dropped_total", "target" => target).increment(1);
        }
        is_admitted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use tracing::Subscriber;
    use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

    use super::*;

    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn log_lines_caused_by_peers_are_limited() {
        let count = Count::default();
        let lines = Layer::<Registry>::with_filter(count.clone(), Limited::default());
        let _guard = tracing::subscriber::set_default(Registry::default().with(lines));
        let logged = |times: u32, log: fn()| {
            let before = count.0.load(Ordering::Relaxed);
            (0..times).for_each(|_| log());
            count.0.load(Ordering::Relaxed) - before
        };
        let h2: fn() = || tracing::warn!(target: "h2::proto::streams", "too many resets");
        assert_eq!(logged(1_000, h2), LINES);
        assert_eq!(logged(1_000, || tracing::warn!(target: "h2o", "ours")), 1_000);
        tokio::time::advance(PERIOD).await;
        assert_eq!(logged(1_000, h2), LINES);
    }
}
