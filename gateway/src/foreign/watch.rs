//! Keeps what is known of upstreams up to date: their descriptors, and the certificates by which they are believed, are
//! read at the start, from time to time, and after every reload of the configuration. None waits for another.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use kit::shutdown::Shutdown;
use tokio::time::sleep;

use super::{Contract, Foreign, Source, read_file, reflection};
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

async fn watch_for_ever(gateway: &Gateway) {
    loop {
        let current = gateway.current();
        let upstreams = join_all(current.foreign.iter().map(|foreign| follow(gateway, &foreign.prefix)));
        // Whatever is under way at a reload may be of another upstream than the one that is configured now.
        tokio::select! {
            _ = async { tokio::join!(upstreams, renew(gateway)) } => {}
            () = gateway.reloaded.notified() => {}
        }
    }
}

/// Keeps the descriptors of one upstream up to date; ends where there are none to read.
async fn follow(gateway: &Gateway, prefix: &Arc<str>) {
    let mut failure = None;
    let mut pause = FIRST_PAUSE;
    for attempt in 0.. {
        // Anew each time: another certificate may count now.
        let current = gateway.current();
        let Some(foreign) = current.foreign.iter().find(|foreign| foreign.prefix == *prefix) else { return };
        match read(foreign, attempt).await {
            None => return,
            Some(Ok(contract)) => {
                if failure.take().is_some() {
                    tracing::info!(upstream = %prefix, "descriptors can be read again");
                }
                gateway.learn(prefix, contract);
                sleep(current.refresh).await;
                pause = FIRST_PAUSE;
            }
            Some(Err(Failure { why, at })) => {
                // Once a failure, not once an attempt or a member.
                if failure.as_ref() != Some(&why) {
                    tracing::warn!(upstream = %prefix, at, error = why, "descriptors cannot be read; the last ones count");
                    failure = Some(why);
                }
                sleep(pause.min(current.refresh)).await;
                pause = (pause * 2).min(current.refresh);
            }
        }
    }
}

/// Why descriptors could not be read.
struct Failure {
    why: String,
    /// Who was asked last; empty: nobody.
    at: String,
}

async fn read(foreign: &Foreign, attempt: usize) -> Option<Result<Contract, Failure>> {
    match foreign.source {
        Source::None => None,
        Source::File(_) => {
            let read = read_file(&foreign.prefix, &foreign.source);
            read.map(|read| read.map_err(|why| Failure { why, at: String::new() }))
        }
        Source::Reflection(_) => Some(ask(foreign, attempt).await),
    }
}

/// Any member can tell what all of them answer. Each attempt begins with another one.
async fn ask(foreign: &Foreign, attempt: usize) -> Result<Contract, Failure> {
    let members = foreign.cluster.locations();
    let mut failure = Failure { why: "no address".to_owned(), at: String::new() };
    for member in members.iter().cycle().skip(attempt % members.len().max(1)).take(MOST_ASKED.min(members.len())) {
        let told = reflection::fetch(member, foreign.trust.as_ref(), |service| foreign.answers(service)).await;
        let contract = told.and_then(|told| {
            let answers = |service: &str| told.services.contains(service);
            Contract::read(&told.encoded, &foreign.prefix, &foreign.source, answers)
        });
        match contract {
            Ok(contract) => return Ok(contract),
            Err(why) => failure = Failure { why, at: member.to_string() },
        }
    }
    Err(failure)
}

/// Keeps certificates up to date.
async fn renew(gateway: &Gateway) {
    let mut known = Vec::new();
    loop {
        sleep(gateway.current().refresh).await;
        let problems = gateway.renew();
        for problem in problems.iter().filter(|problem| !known.contains(*problem)) {
            tracing::warn!(problem, "a certificate stays as it was");
        }
        known = problems;
    }
}
