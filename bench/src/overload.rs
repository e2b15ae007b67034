//! Measures how many calls an overloaded service completes in time, from half its capacity to five times its capacity,
//! with and without the gateway's load shedding.
//!
//! The service runs in this process. It has a fixed number of workers and an unbounded queue, and does not notice when
//! a client cancels: without shedding it collapses. Calls arrive on schedule, whether or not earlier ones are complete
//! (open loop).

mod report;
mod service;

use std::{path::PathBuf, process::Command, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::Request;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::gateway::process::{Process, free_port};

/// The time of one call, and the number of concurrent calls: a capacity of 400 calls/s.
const WORK: Duration = Duration::from_millis(20);
const WORKERS: usize = 8;
/// The deadline of a call.
const DEADLINE: Duration = Duration::from_millis(500);
/// The loads, as multiples of the capacity.
const LOADS: [f64; 8] = [0.5, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0];
/// The time before the measurement, and the time of the measurement.
const SETTLING: Duration = Duration::from_secs(3);
const MEASURED: Duration = Duration::from_secs(5);
/// The gateway allows 200 concurrent calls on each.
const CONNECTIONS: usize = 24;

/// The options of the command line.
#[derive(Debug, Args)]
pub(crate) struct OverloadOptions {
    /// The path of the trellis binary
    #[arg(long)]
    trellis: PathBuf,
    /// The file for the table
    #[arg(long)]
    report: PathBuf,
    /// The file for the plot
    #[arg(long)]
    plot: PathBuf,
}

/// The results of one load.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    load: f64,
    /// Calls per second: completed in time, refused at once, and all others.
    good: f64,
    refused: f64,
    lost: f64,
    /// Latencies of the calls completed in time.
    p50: Duration,
    p99: Duration,
}

/// Runs the benchmark and writes the table and the plot.
pub(crate) fn run(options: &OverloadOptions) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    let [with, without] = runtime.block_on(async {
        let mut curves = [Vec::new(), Vec::new()];
        for (curve, shedding) in curves.iter_mut().zip([true, false]) {
            for load in LOADS {
                let point = measure(options, load, shedding).await?;
                eprintln!(
                    "{load} × capacity, shedding {shedding}: {:.0} of {:.0}/s in time",
                    point.good,
                    load * capacity()
                );
                curve.push(point);
            }
        }
        Ok::<_, String>(curves)
    })?;
    let write =
        |path: &PathBuf, text: String| std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()));
    write(&options.report, report::table(&with, &without))?;
    write(&options.plot, report::plot(&with, &without))
}

fn capacity() -> f64 {
    f64::from(u32::try_from(WORKERS).unwrap_or(u32::MAX)) / WORK.as_secs_f64()
}

/// Measures one load on a fresh service behind a fresh gateway.
async fn measure(options: &OverloadOptions, load: f64, shedding: bool) -> Result<Point, String> {
    let service = service::start(WORKERS, WORK).await.map_err(|e| e.to_string())?;
    let folder = TempDir::new().map_err(|e| e.to_string())?;
    let port = free_port()?;
    let mut gateway = start(options, &folder, port, service.port, shedding)?;
    gateway.listens(port).await?;
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        senders.push(connect(port).await?);
    }
    let begin = Instant::now();
    let (counts, end) = (begin + SETTLING, begin + SETTLING + MEASURED);
    let pause = Duration::from_secs_f64(1.0 / (load * capacity()));
    let (mut at, mut calls, mut number) = (begin, JoinSet::new(), 0);
    while at < end {
        sleep_until(at).await;
        let sender = senders[number % CONNECTIONS].clone();
        let counted = at >= counts;
        let due = at;
        calls.spawn(async move { (counted, call(sender, port, due).await) });
        (at, number) = (at + pause, number + 1);
    }
    let ended: Vec<Ended> =
        calls.join_all().await.into_iter().filter(|(counted, _)| *counted).map(|(_, e)| e).collect();
    gateway.stop();
    Ok(Point::of(load, &ended))
}

fn start(options: &OverloadOptions, folder: &TempDir, port: u16, to: u16, shedding: bool) -> Result<Process, String> {
    let path = folder.path().join("trellis.toml");
    let set = folder.path().join("work.bin");
    std::fs::write(&set, service::descriptors()).map_err(|e| e.to_string())?;
    let text = format!(
        "[gateway]\nlisten = [\"127.0.0.1:{port}\"]\ndefault_rate_requests = 100_000_000\n\
         [gateway.external]\n\"bench.v1\" = {{ to = \"http://127.0.0.1:{to}\", access = \"public\", descriptors = {set:?} }}\n\
         [balance.shed]\nenabled = {shedding}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [users]\nlisten = \"127.0.0.1:0\"\n[auth]\nlisten = \"127.0.0.1:0\"\n[messaging]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(&path, text).map_err(|e| e.to_string())?;
    let mut command = Command::new(&options.trellis);
    command.env("XDG_DATA_HOME", folder.path()).arg("--config").arg(&path);
    command.args(["--set", "log.level=warn"]);
    Process::start(&command, "1", &folder.path().join("log"))
}

/// The outcome of a call, with its latency.
enum Ended {
    Good(Duration),
    Refused,
    Lost,
}

impl Point {
    fn of(load: f64, ended: &[Ended]) -> Self {
        let mut times: Vec<Duration> = Vec::new();
        let (mut refused, mut lost) = (0.0, 0.0);
        for one in ended {
            match one {
                Ended::Good(took) => times.push(*took),
                Ended::Refused => refused += 1.0,
                Ended::Lost => lost += 1.0,
            }
        }
        times.sort();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
        let seconds = MEASURED.as_secs_f64();
        let good = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX)) / seconds;
        Self { load, good, refused: refused / seconds, lost: lost / seconds, p50: at(50), p99: at(99) }
    }
}

type Sender = h2::client::SendRequest<Bytes>;

async fn connect(port: u16) -> Result<Sender, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(|e| e.to_string())?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

async fn call(sender: Sender, port: u16, due: Instant) -> Ended {
    match timeout(DEADLINE, send(sender, port)).await {
        Ok(Some(Code::Ok)) => Ended::Good(due.elapsed()),
        Ok(Some(Code::Unavailable)) => Ended::Refused,
        _ => Ended::Lost,
    }
}

#[derive(PartialEq, Eq)]
enum Code {
    Ok,
    Unavailable,
    Other,
}

async fn send(sender: Sender, port: u16) -> Option<Code> {
    let millis = DEADLINE.as_millis();
    let request = Request::post(format!("http://127.0.0.1:{port}{}", service::PATH))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{millis}m"))
        .body(())
        .ok()?;
    let (response, mut stream) = sender.ready().await.ok()?.send_request(request, false).ok()?;
    stream.send_data(Bytes::from_static(&[0; 5]), true).ok()?;
    let response = response.await.ok()?;
    let status = |headers: &http::HeaderMap| headers.get("grpc-status").map(|status| status.as_bytes().to_owned());
    let early = status(response.headers());
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        body.flow_control().release_capacity(piece.len()).ok();
    }
    let code = match early {
        Some(code) => code,
        None => status(&body.trailers().await.ok()??)?,
    };
    Some(match code.as_slice() {
        b"0" => Code::Ok,
        b"14" => Code::Unavailable,
        _ => Code::Other,
    })
}
