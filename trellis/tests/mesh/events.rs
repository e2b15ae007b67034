//! Server-sent events that resume after a cut, and the ends of streams.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    files,
    harness::{Mesh, Person, Store, new_id},
    web::{self, Http},
};

const WAIT: Duration = Duration::from_secs(20);

/// `curl -N` on the events of a user.
struct Curl {
    child: Child,
    lines: Receiver<String>,
}

impl Curl {
    fn subscribe(mesh: &Mesh, person: &Person, headers: &[String]) -> Self {
        let url = format!("http://localhost:{}/v1/conversations:subscribe", mesh.ports.gateway);
        let own =
            ["accept: text/event-stream".to_owned(), format!("authorization: Bearer {}", person.tokens.access_token)];
        let headers = own.iter().chain(headers).flat_map(|header| ["-H", header.as_str()]);
        let mut command = Command::new("curl");
        let command = command.args(["-N", "-s", &url]).args(headers).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // An Err means that the test is over.
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)).ok();
        });
        Self { child, lines }
    }

    /// The lines up to the event with this text, and the last id.
    fn until(&self, text: &str) -> (Vec<String>, String) {
        let (mut lines, mut id) = (Vec::new(), String::new());
        loop {
            let line = self.lines.recv_timeout(WAIT).unwrap_or_else(|_| panic!("{text:?} is not in {lines:#?}"));
            if let Some(new) = line.strip_prefix("id: ") {
                new.clone_into(&mut id);
            }
            lines.push(line);
            if lines.last().is_some_and(|line| line.starts_with("data: ") && line.contains(text)) {
                return (lines, id);
            }
        }
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn post(mesh: &Mesh, person: &Person, path: &str, body: Value) -> Value {
    let bearer = format!("Bearer {}", person.tokens.access_token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let port = mesh.ports.gateway;
    let request = web::request("POST", port, path, &headers, Bytes::from(body.to_string()));
    let response = web::send(port, Http::One, request).await.unwrap();
    assert_eq!(response.status, 200, "{path}: {response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_resume_after_the_last_event_id() {
    let mesh = Mesh::start(Store::Sqlite, &[("GATEWAY__JSON__RETRY", "1500ms")]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let new = json!({ "requestId": new_id(), "memberIds": [ada.id()] });
    let conversation = post(&mesh, &bob, "/v1/conversations", new).await;
    let id = conversation["conversation"]["conversationId"].as_str().unwrap().to_owned();
    let say = async |text: &str| {
        let message = json!({ "clientMessageId": new_id(), "text": text });
        post(&mesh, &bob, &format!("/v1/conversations/{id}/messages"), message).await
    };
    let events = Curl::subscribe(&mesh, &ada, &[]);
    let (lines, _) = events.until("\"conversation\":{");
    assert_eq!(lines[0], "retry: 1500");
    events.until("caughtUp");
    say("first words").await;
    let (_, cursor) = events.until("first words");
    assert!(!cursor.is_empty());
    drop(events);
    say("second words").await;
    let events = Curl::subscribe(&mesh, &ada, &[format!("Last-Event-ID: {cursor}")]);
    let (lines, next) = events.until("second words");
    let all = lines.join("\n");
    assert!(!all.contains("first words") && !all.contains("\"conversation\":{"), "{all}");
    assert!(!next.is_empty() && next != cursor);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_in_the_end_of_a_stream() {
    let (mesh, _) = files::mesh(&[]).await;
    let port = mesh.ports.gateway;
    let read = async |headers: &[(&str, &str)]| {
        let request = web::request("GET", port, "/shop/ticks?after=1", headers, Bytes::new());
        String::from_utf8(web::send(port, Http::One, request).await.unwrap().body.to_vec()).unwrap()
    };
    let lines = read(&[]).await;
    assert_eq!(
        lines,
        "{\"result\":{\"cursor\":\"2\"}}\n{\"result\":{\"cursor\":\"3\"}}\n\
         {\"error\":{\"code\":14,\"message\":\"\"},\"trailers\":{\"x-reason\":[\"cut\"]}}\n"
    );
    // The header replaces the cursor of the URL, which EventSource repeats.
    let events = read(&[("accept", "text/event-stream"), ("last-event-id", "3")]).await;
    assert_eq!(
        events,
        "retry: 3000\nid: 4\ndata: {\"cursor\":\"4\"}\n\nid: 5\ndata: {\"cursor\":\"5\"}\n\n\
         event: end\ndata: {\"code\":14,\"message\":\"\",\"trailers\":{\"x-reason\":[\"cut\"]}}\n\n"
    );
}
