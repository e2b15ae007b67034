//! Keeps what is known of upstreams up to date: their descriptors are read at the start, from time to time, and after
//! every reload of the configuration.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kit::shutdown::Shutdown;

use super::{Contract, Foreign, Source, reflection};
use crate::Gateway;

/// How soon an upstream that could not be asked is asked again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Runs until the process stops.
pub(crate) async fn watch(gateway: Arc<Gateway>, shutdown: Shutdown) {
    tokio::select! {
        () = read_for_ever(&gateway) => {}
        () = shutdown.draining() => {}
    }
}

async fn read_for_ever(gateway: &Gateway) {
    let mut failures: HashMap<Arc<str>, String> = HashMap::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let current = gateway.current();
        let mut all_well = true;
        for foreign in &current.foreign {
            match read(foreign).await {
                None => {}
                Some(Ok(contract)) => {
                    if failures.remove(&foreign.prefix).is_some() {
                        tracing::info!(upstream = %foreign.prefix, "descriptors can be read again");
                    }
                    gateway.learn(&foreign.prefix, contract);
                }
                Some(Err(error)) => {
                    all_well = false;
                    // Once a failure, not once an attempt.
                    if failures.insert(Arc::clone(&foreign.prefix), error.clone()).as_ref() != Some(&error) {
                        tracing::warn!(upstream = %foreign.prefix, error, "descriptors cannot be read; the last ones count");
                    }
                }
            }
        }
        if let Err(error) = gateway.look_at_certificates() {
            tracing::warn!(error, "the certificates stay as they were");
        }
        pause = if all_well { current.refresh } else { (pause * 2).min(current.refresh) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = gateway.reloaded.notified() => pause = FIRST_PAUSE,
        }
    }
}

async fn read(foreign: &Foreign) -> Option<Result<Contract, String>> {
    match foreign.source {
        Source::None => None,
        Source::File(_) => foreign.read_file(),
        Source::Reflection(_) => Some(ask(foreign).await),
    }
}

/// Any member can tell what all of them answer.
async fn ask(foreign: &Foreign) -> Result<Contract, String> {
    let mut failure = "no address".to_owned();
    for address in foreign.cluster.locations() {
        match reflection::fetch(&address, foreign.trust.as_ref(), |service| foreign.answers(service)).await {
            Ok(told) => return Contract::read(&told.encoded, foreign, |service| told.services.contains(service)),
            Err(error) => failure = format!("{address}: {error}"),
        }
    }
    Err(failure)
}
