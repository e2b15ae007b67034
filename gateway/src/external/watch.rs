//! Keeps what is known of upstreams up to date: what they declare, and the files about them, are read from time to time,
//! and what they declare at the start and after every reload too. None waits for another.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use kit::shutdown::Shutdown;
use tokio::{task::spawn_blocking, time::sleep};

use super::{Contract, ExternalUpstream, Source, reflection};
use crate::Gateway;

/// How soon an upstream that could not be asked is asked again, at first; twice as long each time, and
/// `gateway.descriptors_refresh` at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How many members of an upstream are asked before the next pause, which bounds how long it takes.
const MOST_ASKED: usize = 3;

/// Runs until the process stops.
pub(crate) async fn watch(gateway: Arc<Gateway>, shutdown: Shutdown) {
    tokio::select! {
        () = watch_for_ever(&gateway) => {}
        () = shutdown.draining() => {}
    }
}

async fn watch_for_ever(gateway: &Arc<Gateway>) {
    loop {
        // What is of now is not held until the next reload: it may be made anew before.
        let asked: Vec<Arc<str>> = gateway.current().external.iter().filter_map(prefix_to_ask).collect();
        let upstreams = join_all(asked.iter().map(|prefix| follow(gateway, prefix)));
        // Whatever is under way at a reload may be of another upstream than the one that is configured now.
        tokio::select! {
            _ = async { tokio::join!(upstreams, look_at_files(gateway)) } => {}
            () = gateway.reloaded.notified() => {}
        }
    }
}

fn prefix_to_ask(external: &ExternalUpstream) -> Option<Arc<str>> {
    matches!(external.source, Source::Reflection(_)).then(|| Arc::clone(&external.prefix))
}

/// Asks one upstream from time to time what it declares.
async fn follow(gateway: &Gateway, prefix: &Arc<str>) {
    let mut failures = BTreeSet::new();
    let (mut pause, mut first) = (FIRST_PAUSE, 0);
    loop {
        let (asked, refresh) = {
            // Anew each time: another certificate may count now.
            let current = gateway.current();
            let Some(external) = current.external.iter().find(|external| external.prefix == *prefix) else { return };
            (ask(external, first).await, current.refresh)
        };
        match asked {
            Ok(contract) => {
                if !failures.is_empty() {
                    tracing::info!(upstream = %prefix, "descriptors can be read again");
                }
                gateway.learn(prefix, contract);
                (failures, pause) = (BTreeSet::new(), FIRST_PAUSE);
                sleep(refresh).await;
            }
            Err(met) => {
                // Once a failure, not once an attempt.
                if met != failures {
                    let error = met.iter().cloned().collect::<Vec<_>>().join("; ");
                    tracing::warn!(upstream = %prefix, error, "descriptors cannot be read; the last ones count");
                    failures = met;
                }
                first += MOST_ASKED;
                sleep(pause.min(refresh)).await;
                pause = (pause * 2).min(refresh);
            }
        }
    }
}

/// Any member can tell what all of them answer; a few are asked, from `first` on. An error: why none of them could.
async fn ask(external: &ExternalUpstream, first: usize) -> Result<Contract, BTreeSet<String>> {
    let members = external.cluster.locations();
    let mut failures = BTreeSet::new();
    for member in members.iter().cycle().skip(first % members.len().max(1)).take(MOST_ASKED.min(members.len())) {
        let told = reflection::fetch(member, external.trust.as_ref(), |service| external.answers(service)).await;
        let contract = told.and_then(|told| {
            let answers = |service: &str| told.services.contains(service);
            Contract::read(&told.encoded, &external.prefix, &external.source, answers)
        });
        match contract {
            Ok(contract) => return Ok(contract),
            Err(why) => drop(failures.insert(format!("{member}: {why}"))),
        }
    }
    if members.is_empty() {
        failures.insert("no address is known".to_owned());
    }
    Err(failures)
}

/// Looks from time to time whether files have changed.
async fn look_at_files(gateway: &Arc<Gateway>) {
    let mut known = Vec::new();
    loop {
        sleep(gateway.current().refresh).await;
        let looking = Arc::clone(gateway);
        // A file may be far away, and whoever reads it blocks.
        let Ok(problems) = spawn_blocking(move || looking.look_at_files()).await else { continue };
        for problem in problems.iter().filter(|problem| !known.contains(*problem)) {
            tracing::warn!(problem, "its last good content counts");
        }
        known = problems;
    }
}
