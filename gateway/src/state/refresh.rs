//! Keeps the descriptors and files of upstreams up to date: it reads them periodically, and the descriptors also at the
//! start and after every reload. No upstream waits for another.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use kit::shutdown::Shutdown;
use tokio::{task::spawn_blocking, time::sleep};

use super::State;
use crate::external::{self, Contract, DescriptorSource, ExternalUpstream};

/// The first pause after an upstream's descriptors could not be read; it doubles each time, up to
/// `gateway.descriptors_refresh`.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How many endpoints of an upstream are tried before the next pause, which bounds the time of one round.
const MOST_ASKED: usize = 3;

/// Runs until the process stops.
pub(crate) async fn watch(state: Arc<State>, shutdown: Shutdown) {
    tokio::select! {
        () = watch_for_ever(&state) => {}
        () = shutdown.draining() => {}
    }
}

async fn watch_for_ever(state: &Arc<State>) {
    loop {
        // The current state is not held during the wait: it may be replaced before the next reload.
        let asked: Vec<Arc<str>> = state.snapshot().external.iter().filter_map(prefix_to_ask).collect();
        let upstreams = join_all(asked.iter().map(|prefix| follow(state, prefix)));
        let known = state.snapshot().issuers.clone();
        let issuers = join_all(known.iter().map(|issuer| issuer.keep_fresh()));
        // A request in progress at a reload may belong to an upstream that is no longer configured.
        tokio::select! {
            _ = async { tokio::join!(upstreams, issuers, read_changed_files(state)) } => {}
            () = state.reloaded.notified() => {}
        }
    }
}

fn prefix_to_ask(external: &ExternalUpstream) -> Option<Arc<str>> {
    matches!(external.source, DescriptorSource::Reflection(_)).then(|| Arc::clone(&external.prefix))
}

/// Reads the descriptors of one upstream periodically.
async fn follow(state: &Arc<State>, prefix: &Arc<str>) {
    let mut failures = BTreeSet::new();
    let (mut pause, mut first) = (FIRST_PAUSE, 0);
    loop {
        let (asked, refresh) = {
            // Read each time: the certificate may have changed.
            let snapshot = state.snapshot();
            let Some(external) = snapshot.external.iter().find(|external| external.prefix == *prefix) else { return };
            (ask(external, first).await, snapshot.refresh)
        };
        match asked {
            Ok(contract) => {
                if !failures.is_empty() {
                    tracing::info!(upstream = %prefix, "descriptors can be read again");
                }
                let (learning, prefix) = (Arc::clone(state), Arc::clone(prefix));
                // It builds a snapshot. An error means that the process stops.
                spawn_blocking(move || learning.learn(&prefix, contract)).await.ok();
                (failures, pause) = (BTreeSet::new(), FIRST_PAUSE);
                sleep(refresh).await;
            }
            Err(met) => {
                // Logged once per failure, not once per attempt.
                if met != failures {
                    let error = met.iter().cloned().collect::<Vec<_>>().join("; ");
                    let effect = if state.lock_known().contracts.contains_key(prefix) {
                        "the last good ones remain"
                    } else {
                        "there are none yet, so that no method of the upstream can be called"
                    };
                    tracing::warn!(upstream = %prefix, error, "descriptors cannot be read; {effect}");
                    failures = met;
                }
                first += MOST_ASKED;
                sleep(pause.min(refresh)).await;
                pause = (pause * 2).min(refresh);
            }
        }
    }
}

/// Reads the descriptors from a few endpoints, from `first` on, until one succeeds. The error lists why each failed.
async fn ask(external: &ExternalUpstream, first: usize) -> Result<Contract, BTreeSet<String>> {
    let members = external.cluster.locations();
    let mut failures = BTreeSet::new();
    for member in members.iter().cycle().skip(first % members.len().max(1)).take(MOST_ASKED.min(members.len())) {
        let reflected = external::fetch(member, external.trust.as_ref(), |service| external.serves(service)).await;
        let contract = reflected.and_then(|reflected| {
            let serves = |service: &str| reflected.services.contains(service);
            Contract::read(&reflected.encoded, &external.prefix, &external.source, serves)
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

/// Checks periodically whether files have changed.
async fn read_changed_files(state: &Arc<State>) {
    let mut known = Vec::new();
    loop {
        sleep(state.snapshot().refresh).await;
        let reading = Arc::clone(state);
        // Reading a file on a network file system may block.
        let Ok(problems) = spawn_blocking(move || reading.read_changed_files()).await else { continue };
        for problem in problems.iter().filter(|problem| !known.contains(*problem)) {
            tracing::warn!(problem, "the last good content stays in force");
        }
        known = problems;
    }
}
