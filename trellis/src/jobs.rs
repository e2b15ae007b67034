//! `trellis jobs`: lists, retries and deletes the jobs of the services. It reads their databases, so that it also works
//! while no process runs.

use std::fmt::Write as _;

use kit::{ClockAndRng, Timestamp, error::chain};
use kit_data::{
    jobs::{Filter, Listed, Operator, State},
    store::Location,
};
use uuid::Uuid;

use crate::{cli, config::Config, services::Service};

/// The services that have jobs.
const SERVICES: [Service; 1] = [Service::Auth];

/// Runs the command and returns its output.
pub(crate) async fn run(config: &Config, command: cli::Jobs) -> Result<String, String> {
    match command {
        cli::Jobs::List { state, kind, limit, arguments } => {
            list(config, &Filter { state: state.map(State::from), kind, limit }, arguments).await
        }
        cli::Jobs::Retry { ids, all, kind } => {
            let ids = if all { dead(config, kind).await? } else { ids };
            retry(config, &ids).await
        }
        cli::Jobs::Delete { ids } => delete(config, &ids).await,
    }
}

async fn list(config: &Config, filter: &Filter, arguments: bool) -> Result<String, String> {
    let mut text = String::new();
    for service in SERVICES {
        for job in jobs(config, service, filter).await? {
            line(&mut text, service, &job, arguments);
        }
    }
    Ok(if text.is_empty() { "no jobs".to_owned() } else { text })
}

fn line(text: &mut String, service: Service, job: &Listed, arguments: bool) {
    let time = |at: Timestamp| prost_types::Timestamp::from(at).to_string();
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

/// The ids of all dead letters.
async fn dead(config: &Config, kind: Option<String>) -> Result<Vec<Uuid>, String> {
    let filter = Filter { state: Some(State::Dead), kind, limit: u32::MAX };
    let mut ids = Vec::new();
    for service in SERVICES {
        ids.extend(jobs(config, service, &filter).await?.into_iter().map(|job| job.id));
    }
    Ok(ids)
}

async fn retry(config: &Config, ids: &[Uuid]) -> Result<String, String> {
    let (mut left, now) = (ids.to_vec(), ClockAndRng::system().now());
    for service in SERVICES {
        let mut operator = connect(config, service).await?;
        let mut rest = Vec::new();
        for id in left {
            if !operator.retry(id, now).await.map_err(|error| chain(&error))? {
                rest.push(id);
            }
        }
        left = rest;
    }
    report("due now", ids.len(), &left)
}

async fn delete(config: &Config, ids: &[Uuid]) -> Result<String, String> {
    let (mut left, now) = (ids.to_vec(), ClockAndRng::system().now());
    for service in SERVICES {
        let mut operator = connect(config, service).await?;
        let mut rest = Vec::new();
        for id in left {
            if !operator.delete(id, now).await.map_err(|error| chain(&error))? {
                rest.push(id);
            }
        }
        left = rest;
    }
    report("deleted", ids.len(), &left)
}

fn report(what: &str, all: usize, left: &[Uuid]) -> Result<String, String> {
    let changed = all - left.len();
    let counted = format!("{changed} {} {what}", if changed == 1 { "job is" } else { "jobs are" });
    match left {
        [] => Ok(counted),
        [first, ..] => Err(format!(
            "{counted}; {} not, such as {first}: no such job, a process runs it, or it is recurring and cannot be deleted",
            left.len()
        )),
    }
}

async fn jobs(config: &Config, service: Service, filter: &Filter) -> Result<Vec<Listed>, String> {
    let listed = connect(config, service).await?.list(filter).await;
    listed.map_err(|error| format!("the jobs of {} cannot be listed: {}", service.name(), chain(&error)))
}

/// Connects beside the processes of the service: it takes no lock of the data folder, and migrates nothing.
async fn connect(config: &Config, service: Service) -> Result<Operator, String> {
    let (name, url) = (service.name(), service.section(config).database_url);
    let location = if url.expose().is_empty() {
        Location::Sqlite(config.data_dir()?.join(format!("{name}.db")))
    } else {
        Location::Postgres(url.clone())
    };
    Operator::connect(&location, name).await.map_err(|error| error.to_string())
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
