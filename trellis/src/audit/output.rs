//! The output of `trellis audit`: lines for people, JSON for programs, and progress on the terminal.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind, Write as _},
};

use kit::{Timestamp, audit::Personal};
use kit_data::audit::ListedRecord;
use serde_json::{Value, json};

use crate::{cli::AuditFormat, services::Service};

/// Standard output, one line after another.
pub(super) struct Lines {
    out: io::StdoutLock<'static>,
    is_empty: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { out: io::stdout().lock(), is_empty: true }
    }

    /// Writes a line. `false`: the reader has closed the pipe.
    pub(super) fn write(&mut self, line: &str) -> Result<bool, String> {
        self.is_empty = false;
        match writeln!(self.out, "{line}") {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(format!("standard output: {error}")),
        }
    }

    /// Ends the output; `otherwise` is written if there was none.
    pub(super) fn end(mut self, otherwise: &str) -> Result<(), String> {
        if self.is_empty && !otherwise.is_empty() {
            self.write(otherwise)?;
        }
        match self.out.flush() {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
            _ => Ok(()),
        }
    }
}

fn time(at: Timestamp) -> String {
    prost_types::Timestamp::from(at).to_string()
}

/// A record as one line for people.
pub(super) fn line(service: Service, record: &ListedRecord) -> String {
    let (facts, service) = (&record.facts, service.name());
    let seq = record.sealed.as_ref().map_or_else(|| "-".to_owned(), |sealed| sealed.seq.to_string());
    let mut line = format!("{} {service} {seq} {} {}", time(facts.time), facts.action, facts.code);
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            write!(line, " {name}={}", printable(value)).ok();
        }
    };
    add("reason", &facts.reason);
    if facts.calls != 1 {
        add("calls", &facts.calls.to_string());
    }
    add("by", &facts.principal_kind);
    add("principal", &facts.principal);
    add("session", &facts.session);
    add("target", &facts.target);
    if record.is_erased {
        add("personal", "erased");
    }
    let Personal { address, user_agent, email, handle } = record.personal.clone().unwrap_or_default();
    for (name, value) in [("address", address), ("email", email), ("handle", handle), ("user_agent", user_agent)] {
        add(name, &value);
    }
    line
}

/// A value without control characters: a user agent is the client's text.
fn printable(value: &str) -> String {
    if value.contains(|c: char| c.is_whitespace() || c.is_control()) { format!("{value:?}") } else { value.to_owned() }
}

/// A record as one line of JSON.
pub(super) fn json(service: Service, record: &ListedRecord, format: AuditFormat) -> String {
    let facts = &record.facts;
    let data = json!({
        "service": service.name(),
        "event_id": facts.id,
        "create_time": time(facts.time),
        "action": facts.action,
        "principal": { "kind": facts.principal_kind, "id": facts.principal, "session": facts.session },
        "peer": facts.peer,
        "target": facts.target,
        "code": facts.code,
        "reason": facts.reason,
        "calls": facts.calls,
        "trace_id": facts.trace_id,
        "person_id": facts.person,
        "personal": record.personal,
        "is_erased": record.is_erased,
        "seq": record.sealed.as_ref().map(|sealed| sealed.seq),
        "hash": record.sealed.as_ref().and_then(|sealed| sealed.to_string().split_once(':').map(|(_, hash)| hash.to_owned())),
    });
    match format {
        AuditFormat::Jsonl => data.to_string(),
        AuditFormat::Cloudevents => cloud_event(service, record, data).to_string(),
    }
}

fn cloud_event(service: Service, record: &ListedRecord, data: Value) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": record.facts.id,
        "source": format!("/trellis/{}", service.name()),
        "type": "trellis.audit.v1.recorded",
        "time": time(record.facts.time),
        "datacontenttype": "application/json",
        "data": data,
    });
    // CloudEvents forbids an empty subject.
    if !record.facts.target.is_empty() {
        event["subject"] = record.facts.target.clone().into();
    }
    event
}

#[cfg(test)]
mod tests {
    use kit::{ClockAndRng, audit::AuditEntry};

    use super::*;

    fn record(target: &str) -> ListedRecord {
        let record = AuditEntry::new(target).by_system("a.B/C", &ClockAndRng::system());
        let personal = Personal { user_agent: "x\u{1b}[31m y".to_owned(), ..Personal::default() };
        ListedRecord { facts: record.facts, personal: Some(personal), is_erased: false, sealed: None }
    }

    #[test]
    fn control_characters_of_clients_are_escaped() {
        let line = line(Service::Auth, &record("users/1"));
        assert!(line.contains(" auth - a.B/C OK by=system target=users/1 user_agent=\"x\\u{1b}[31m y\""), "{line}");
    }

    #[test]
    fn export_is_one_json_value_a_line() {
        let read =
            |target, format| serde_json::from_str::<Value>(&json(Service::Auth, &record(target), format)).unwrap();
        let plain = read("users/1", AuditFormat::Jsonl);
        assert_eq!((&plain["service"], &plain["seq"], &plain["code"]), (&json!("auth"), &Value::Null, &json!("OK")));
        let event = read("users/1", AuditFormat::Cloudevents);
        assert_eq!((&event["specversion"], &event["subject"]), (&json!("1.0"), &json!("users/1")));
        assert_eq!((&event["source"], &event["data"]["action"]), (&json!("/trellis/auth"), &json!("a.B/C")));
        assert_eq!(read("", AuditFormat::Cloudevents).get("subject"), None);
    }
}
