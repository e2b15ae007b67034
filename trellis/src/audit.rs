//! `trellis audit`: lists, verifies and exports the audit logs of the services. It reads their databases, so that it also
//! works while no process runs.

mod output;

use kit::error::chain;
use kit_data::audit::{Cursor, Head, ListedRecord, Reader, RecordQuery};

use crate::{
    cli::{self, Anchor, AuditFormat, Records},
    config::Config,
    progress::Progress,
    services::Service,
    stores,
};
use output::Lines;

/// Records that an export reads at once.
const PAGE: u32 = 1_000;

/// Runs the command, and prints its output.
pub(crate) async fn run(config: &Config, command: cli::Audit) -> Result<(), String> {
    match command {
        cli::Audit::List { records, limit, oldest_first } => list(config, &records, limit, !oldest_first).await,
        cli::Audit::Verify { service, anchor } => verify(config, service, &anchor).await,
        cli::Audit::Export { records, format } => export(config, &records, format).await,
    }
}

/// The services that have an audit log.
fn audited(only: Option<Service>) -> impl Iterator<Item = Service> {
    Service::ALL.iter().copied().filter(move |service| service.has_audit() && only.is_none_or(|only| only == *service))
}

async fn connect(config: &Config, service: Service) -> Result<Reader, String> {
    let location = stores::existing(config, service)?;
    let reader = Reader::connect(&location, service.name(), stores::audit_keys(config)?).await;
    reader.map_err(|error| error.to_string())
}

fn query(records: &Records, is_newest_first: bool, limit: u32) -> Result<RecordQuery, String> {
    RecordQuery::new(&records.filter, is_newest_first, limit).map_err(|error| format!("--filter: {error}"))
}

fn unread(service: Service, error: &(dyn std::error::Error + 'static)) -> String {
    format!("the audit log of {} cannot be read: {}", service.name(), chain(error))
}

async fn list(config: &Config, records: &Records, limit: u32, is_newest_first: bool) -> Result<(), String> {
    let query = query(records, is_newest_first, limit)?;
    let mut lines = Lines::new();
    for service in audited(records.service) {
        let found = connect(config, service).await?.list(&query).await.map_err(|error| unread(service, &error))?;
        for record in &found {
            lines.write(&output::line(service, record))?;
        }
    }
    lines.end("no records")
}

async fn export(config: &Config, records: &Records, format: AuditFormat) -> Result<(), String> {
    let mut query = query(records, false, PAGE)?;
    let mut lines = Lines::new();
    for service in audited(records.service) {
        query.after = None;
        let mut reader = connect(config, service).await?;
        let all = reader.count(&query).await.map_err(|error| unread(service, &error))?;
        let (mut shown, what) = (Progress::new(), format!("{}: exported", service.name()));
        let mut done = 0;
        loop {
            let page = reader.list(&query).await.map_err(|error| unread(service, &error))?;
            for record in &page {
                if !lines.write(&output::json(service, record, format))? {
                    return Ok(());
                }
            }
            done += i64::try_from(page.len()).unwrap_or(0);
            shown.show(progress(&what, done, all));
            let Some(last) = page.last() else { break };
            query.after = Some(cursor(last));
        }
        shown.end();
    }
    lines.end("")
}

fn cursor(record: &ListedRecord) -> Cursor {
    Cursor { time: record.facts.time, id: record.facts.id }
}

/// Verifies all chains, and fails if one is not what was sealed.
async fn verify(config: &Config, only: Option<Service>, anchors: &[Anchor]) -> Result<(), String> {
    let mut lines = Lines::new();
    let mut failures = Vec::new();
    for service in audited(only) {
        let (name, mut reader) = (service.name(), connect(config, service).await?);
        let anchor = anchors.iter().filter(|anchor| anchor.service == service).map(|anchor| &anchor.head);
        let anchors: Vec<Option<&Head>> =
            if anchor.clone().next().is_some() { anchor.map(Some).collect() } else { vec![None] };
        for anchor in anchors {
            let (mut shown, what) = (Progress::new(), format!("{name}: verified"));
            let verified = reader.verify(anchor, &mut |seq, of| shown.show(progress(&what, seq, of))).await;
            shown.end();
            match verified {
                Ok(verified) => {
                    lines.write(&format!("{name}: {} sealed records are as they were sealed", verified.records))?;
                    if verified.is_anchor_pruned {
                        lines.write(&format!(
                            "{name}: the anchor is older than the chain, which begins after record {}",
                            verified.base.seq
                        ))?;
                    }
                    lines.write(&format!("{name}: anchor {name}:{}", verified.head))?;
                }
                Err(error) => failures.push(format!("{name}: {}", chain(&error))),
            }
        }
    }
    lines.end(if failures.is_empty() { "no service has an audit log" } else { "" })?;
    if failures.is_empty() { Ok(()) } else { Err(format!("the audit log is not valid: {}", failures.join("; "))) }
}

/// The progress of an audit log of `what`, such as `auth: verified`.
fn progress(what: &str, done: i64, all: i64) -> String {
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100).min(100);
    format!("{what} {done} of {all} records ({percent} %)")
}
