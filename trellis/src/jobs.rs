//! `trellis jobs`: lists, retries and deletes the jobs of the services. It reads their databases, so that it also works
//! while no process runs.

use std::{collections::HashSet, fmt::Write as _};

use kit::{ClockAndRng, Timestamp, error::chain};
use kit_data::jobs::{Filter, Listed, Operator, State};
use uuid::Uuid;

use crate::{cli, config::Config, services::Service, stores};

/// Runs the command and returns its output.
pub(crate) async fn run(config: &Config, command: cli::Jobs) -> Result<String, String> {
    match command {
        cli::Jobs::List { state, kind, limit, arguments } => {
            list(config, &Filter { state: state.map(State::from), kind, limit }, arguments).await
        }
        cli::Jobs::Retry { ids, all, kind, force } => {
            let ids = if all { dead(config, kind).await? } else { ids };
            change(config, if force { Change::TakeBack } else { Change::Retry }, &ids).await
        }
        cli::Jobs::Delete { ids } => change(config, Change::Delete, &ids).await,
    }
}

/// The services that have jobs.
fn with_jobs() -> impl Iterator<Item = Service> {
    Service::ALL.iter().copied().filter(|service| service.has_jobs())
}

async fn list(config: &Config, filter: &Filter, arguments: bool) -> Result<String, String> {
    let mut text = String::new();
    for service in with_jobs() {
        for job in jobs(config, service, filter).await? {
            line(&mut text, service, &job, arguments);
        }
    }
    Ok(if text.is_empty() { "no jobs".to_owned() } else { text })
}

fn line(text: &mut String, service: Service, job: &Listed, arguments: bool) {
    let Listed { id, kind, attempts, failure, version, payload, .. } = job;
    let (state, service) = (job.state.as_str(), service.name());
    let recurring = if job.is_recurring { " recurring" } else { "" };
    let (created, due) = (time(job.create_time), time(job.due_time));
    writeln!(text, "{id} {service} {kind} {state}{recurring} attempts={attempts} created={created} due={due}").ok();
    if arguments {
        writeln!(text, "    arguments (version {version}): {payload}").ok();
    }
    if !failure.is_empty() {
        writeln!(text, "    failure: {failure}").ok();
    }
}

fn time(at: Timestamp) -> String {
    prost_types::Timestamp::from(at).to_string()
}

/// The ids of all dead letters.
async fn dead(config: &Config, kind: Option<String>) -> Result<Vec<Uuid>, String> {
    let filter = Filter { state: Some(State::Dead), kind, limit: u32::MAX };
    let mut ids = Vec::new();
    for service in with_jobs() {
        ids.extend(jobs(config, service, &filter).await?.into_iter().map(|job| job.id));
    }
    Ok(ids)
}

/// A change of jobs.
#[derive(Clone, Copy)]
enum Change {
    Retry,
    /// A retry that ends the claim of a process.
    TakeBack,
    Delete,
}

impl Change {
    /// The state of a changed job.
    fn outcome(self) -> &'static str {
        match self {
            Self::Retry | Self::TakeBack => "due now",
            Self::Delete => "deleted",
        }
    }

    /// Changes a job. `false`: it cannot be changed.
    async fn apply(self, operator: &mut Operator, id: Uuid, now: Timestamp) -> Result<bool, String> {
        let changed = match self {
            Self::Retry => operator.retry(id, now).await,
            Self::TakeBack => operator.take_back(id, now).await,
            Self::Delete => operator.delete(id, now).await,
        };
        changed.map_err(|error| chain(&error))
    }
}

async fn change(config: &Config, change: Change, ids: &[Uuid]) -> Result<String, String> {
    let ids = distinct(ids);
    let (mut left, now) = (ids.clone(), ClockAndRng::system().now());
    for service in with_jobs() {
        let mut operator = connect(config, service).await?;
        let mut rest = Vec::new();
        for id in left {
            if !change.apply(&mut operator, id, now).await? {
                rest.push(id);
            }
        }
        left = rest;
    }
    let changed = ids.len() - left.len();
    let Some(first) = left.first() else { return Ok(changed_jobs(changed, change)) };
    let why = unchanged(change, find(config, *first).await?.as_ref());
    Err(match (changed, left.len()) {
        (0, 1) => format!("job {first} was not changed: {why}"),
        (0, others) => format!("none of the {others} jobs was changed; job {first}: {why}"),
        (_, others) => format!("{}; {others} not changed; job {first}: {why}", changed_jobs(changed, change)),
    })
}

/// The ids in their order, each once.
fn distinct(ids: &[Uuid]) -> Vec<Uuid> {
    let mut seen = HashSet::new();
    ids.iter().copied().filter(|id| seen.insert(*id)).collect()
}

fn changed_jobs(count: usize, change: Change) -> String {
    format!("{count} {} {}", if count == 1 { "job is" } else { "jobs are" }, change.outcome())
}

/// Why a job was not changed, and what the operator can do.
fn unchanged(change: Change, job: Option<&Listed>) -> String {
    let Some(job) = job else { return "there is no job with this id; `trellis jobs list` prints the ids".to_owned() };
    let lease =
        || format!("a process runs it, and its lease ends at {} unless that process renews it", time(job.due_time));
    match (change, job.state) {
        (Change::Delete, _) if job.is_recurring => "it is recurring and cannot be deleted".to_owned(),
        (Change::Delete, State::Running) => format!("{}; delete it when no process runs it", lease()),
        (Change::Retry, State::Running) => {
            format!("{}; if that process has ended, wait until then, or use trellis jobs retry --force", lease())
        }
        _ => "it has changed in the meantime; try again".to_owned(),
    }
}

async fn find(config: &Config, id: Uuid) -> Result<Option<Listed>, String> {
    for service in with_jobs() {
        if let Some(job) = connect(config, service).await?.find(id).await.map_err(|error| chain(&error))? {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

async fn jobs(config: &Config, service: Service, filter: &Filter) -> Result<Vec<Listed>, String> {
    let listed = connect(config, service).await?.list(filter).await;
    listed.map_err(|error| format!("the jobs of {} cannot be listed: {}", service.name(), chain(&error)))
}

async fn connect(config: &Config, service: Service) -> Result<Operator, String> {
    let location = stores::existing(config, service)?;
    Operator::connect(&location, service.name()).await.map_err(|error| error.to_string())
}

impl From<cli::JobState> for State {
    fn from(state: cli::JobState) -> Self {
        match state {
            cli::JobState::Waiting => Self::Waiting,
            cli::JobState::Running => Self::Running,
            cli::JobState::Dead => Self::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: State, is_recurring: bool) -> Listed {
        Listed {
            id: Uuid::nil(),
            kind: "account.deleted".to_owned(),
            version: 1,
            payload: String::new(),
            is_recurring,
            state,
            create_time: Timestamp::from_micros(0),
            due_time: Timestamp::from_micros(30_000_000),
            attempts: 1,
            failure: String::new(),
        }
    }

    #[test]
    fn repeated_ids_count_once() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(distinct(&[two, one, two, one]), [two, one]);
    }

    #[test]
    fn advice_fits_the_change_and_the_job() {
        let lease = "a process runs it, and its lease ends at 1970-01-01T00:00:30Z unless that process renews it";
        let recurring = "it is recurring and cannot be deleted".to_owned();
        let changed = "it has changed in the meantime; try again".to_owned();
        let force = format!("{lease}; if that process has ended, wait until then, or use trellis jobs retry --force");
        let delete = format!("{lease}; delete it when no process runs it");
        for (change, state, is_recurring, expected) in [
            (Change::Delete, State::Running, false, &delete),
            (Change::Delete, State::Running, true, &recurring),
            (Change::Delete, State::Waiting, true, &recurring),
            (Change::Delete, State::Dead, false, &changed),
            (Change::Retry, State::Running, false, &force),
            (Change::Retry, State::Running, true, &force),
            (Change::Retry, State::Waiting, true, &changed),
            (Change::TakeBack, State::Running, true, &changed),
        ] {
            assert_eq!(&unchanged(change, Some(&job(state, is_recurring))), expected, "{state:?} {is_recurring}");
        }
        assert_eq!(unchanged(Change::Delete, None), "there is no job with this id; `trellis jobs list` prints the ids");
    }
}
