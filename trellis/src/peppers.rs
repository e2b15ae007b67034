//! `trellis keys pepper`, `peppers` and `remove-pepper`: the peppers of password hashes.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use auth::keys::{Kept, PUBLISHED_BEFORE, PepperStep, Peppers};
use kit::{ClockAndRng, config::Span, error::chain};

use crate::{beside, config::Config};

/// Takes the next step in `folder`. Returns what changed and what to do next.
pub(crate) fn rotate(folder: &Path, is_forced: bool) -> Result<String, String> {
    let step = Peppers::rotate_in(folder, ClockAndRng::system().now(), is_forced).map_err(|e| e.to_string())?;
    match step {
        Ok(PepperStep::Added(id)) => Ok(format!(
            "pepper {id} is next: it enters no hash yet\n\
             next: copy peppers.keys to every replica of auth, keep a copy apart from the copies of the database, and run \
             `trellis keys pepper` again after {}",
            Span(PUBLISHED_BEFORE)
        )),
        Ok(PepperStep::Used(id)) => Ok(format!(
            "pepper {id} is current: it enters new hashes, and the hash of each user at the next sign-in\n\
             next: copy peppers.keys to every replica of auth, and keep a copy apart from the copies of the database"
        )),
        Err(kept) => Err(format!("{}: {}", folder.display(), refusal(&kept))),
    }
}

/// The peppers, with the number of hashes that need each.
pub(crate) async fn list(config: &Config, folder: Option<PathBuf>) -> Result<String, String> {
    let configured = || Peppers::configured(&config.auth);
    let configured = if folder.is_some() { Ok(None) } else { configured() }.map_err(|e| e.to_string())?;
    let peppers = match configured {
        Some(peppers) => peppers,
        None => Peppers::read(&crate::rotation::folder(folder, || Ok(config.clone()))?).map_err(|e| e.to_string())?,
    };
    let (store, now) = (beside::auth(config).await?, ClockAndRng::system().now());
    let failed = |error: kit_data::store::Error| format!("the hashes cannot be counted: {}", chain(&error));
    let (mut text, mut known) = (String::new(), 0);
    for (id, state, since) in peppers.list() {
        let count = store.count_hashes(Some(id)).await.map_err(failed)?;
        known += count;
        let age = Span(Duration::from_secs(since.until(now).as_secs()));
        writeln!(text, "{:<7}  {id}  for {age}  {}", state.name(), hashes(count)).ok();
    }
    let [all, with] = [store.count_hashes(None).await, store.count_peppered().await].map(|count| count.map_err(failed));
    let (all, with) = (all?, with?);
    writeln!(text, "without a pepper: {}", hashes(all.saturating_sub(with))).ok();
    let unknown = with.saturating_sub(known);
    if unknown > 0 {
        writeln!(text, "of peppers that are not listed: {}; they cannot be verified", hashes(unknown)).ok();
    }
    Ok(text)
}

/// Removes a pepper that no hash needs.
pub(crate) async fn remove(config: &Config, folder: &Path, id: &str, is_forced: bool) -> Result<String, String> {
    let store = beside::auth(config).await?;
    let count = store.count_hashes(Some(id)).await;
    let count = count.map_err(|error| format!("the hashes cannot be counted: {}", chain(&error)))?;
    if count > 0 {
        return Err(format!(
            "pepper {id} was not removed: {} it; each is renewed when its user signs in, and until then cannot be verified \
             without the pepper",
            if count == 1 { "1 hash needs".to_owned() } else { format!("{count} hashes need") }
        ));
    }
    let removed = Peppers::remove_in(folder, id, ClockAndRng::system().now(), is_forced).map_err(|e| e.to_string())?;
    removed.map_err(|kept| format!("pepper {id} was not removed: {}", refusal(&kept)))?;
    Ok(format!(
        "removed: {id}\n\
         next: copy peppers.keys to every replica of auth. Keep the pepper as long as you may restore a backup of the \
         database that needs it."
    ))
}

fn hashes(count: u64) -> String {
    format!("{count} {}", if count == 1 { "hash" } else { "hashes" })
}

fn refusal(kept: &Kept) -> String {
    match kept {
        Kept::TooEarly(wait) => {
            let wait = Span(Duration::from_secs(wait.as_secs().saturating_add(1)));
            format!(
                "some replicas may not have the last change yet; run this again in {wait}, or with --now if all have it"
            )
        }
        Kept::Current => "it enters new hashes; replace it with `trellis keys pepper` first".to_owned(),
        Kept::Unknown => "the set has no such pepper; `trellis keys peppers` lists them".to_owned(),
    }
}
