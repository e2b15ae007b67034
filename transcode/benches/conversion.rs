//! Compares the conversions with prost-reflect and with serde_json on generated structs. `cargo xtask bench transcode` runs
//! it. `--report FILE` writes the report. `--here MESSAGE DIRECTION` repeats one conversion of this crate, for a profiler.
#![expect(clippy::unwrap_used, reason = "a benchmark stops at an error")]
#![expect(clippy::print_stdout, reason = "the report is the result")]

#[path = "conversion/structs.rs"]
mod structs;

use std::{
    fmt::Write as _,
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde::{Serialize, de::DeserializeOwned};
use transcode::{Limits, ParseOptions, Plan, PrintOptions, Registry};

/// How long each conversion is measured, and how often; the best counts.
const PERIOD: Duration = Duration::from_millis(100);
const ROUNDS: usize = 7;

struct Source;

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "conversion.proto" => File::from_source(name, include_str!("conversion.proto")),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn pool() -> DescriptorPool {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("conversion.proto").unwrap();
    compiler.descriptor_pool()
}

/// The time of one call.
fn time_of(mut call: impl FnMut()) -> Duration {
    let started = Instant::now();
    let mut calls = 0_u32;
    while started.elapsed() < PERIOD {
        call();
        calls += 1;
    }
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        for _ in 0..calls {
            call();
        }
        started.elapsed() / calls
    });
    rounds.min().unwrap()
}

/// A conversion by the three contenders.
struct Times {
    here: Duration,
    reflect: Duration,
    structs: Duration,
}

fn to_proto<T: Message + DeserializeOwned>(plan: &Plan, descriptor: &MessageDescriptor, json: &str) -> Times {
    let (options, limits) = (ParseOptions::default(), Limits::default());
    Times {
        here: time_of(|| {
            let mut out = Vec::new();
            plan.to_proto(black_box(json).as_bytes(), &options, &limits, &mut out).unwrap();
            black_box(out);
        }),
        reflect: time_of(|| {
            let mut deserializer = serde_json::Deserializer::from_slice(black_box(json).as_bytes());
            let message = DynamicMessage::deserialize(descriptor.clone(), &mut deserializer).unwrap();
            black_box(message.encode_to_vec());
        }),
        structs: time_of(|| {
            let message: T = serde_json::from_slice(black_box(json).as_bytes()).unwrap();
            black_box(message.encode_to_vec());
        }),
    }
}

fn to_json<T: Message + Default + Serialize>(plan: &Plan, descriptor: &MessageDescriptor, proto: &[u8]) -> Times {
    let (options, limits) = (PrintOptions::default(), Limits::default());
    Times {
        here: time_of(|| {
            let mut out = Vec::new();
            plan.to_json(black_box(proto), &options, &limits, &mut out).unwrap();
            black_box(out);
        }),
        reflect: time_of(|| {
            let message = DynamicMessage::decode(descriptor.clone(), black_box(proto)).unwrap();
            black_box(serde_json::to_vec(&message).unwrap());
        }),
        structs: time_of(|| {
            let message = T::decode(black_box(proto)).unwrap();
            black_box(serde_json::to_vec(&message).unwrap());
        }),
    }
}

fn row(report: &mut String, name: &str, direction: &str, bytes: usize, times: &Times) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let (here, reflect, structs) = (micros(times.here), micros(times.reflect), micros(times.structs));
    let _ = writeln!(
        report,
        "| {name}, {direction} | {bytes} | {here:.2} | {reflect:.2} | {structs:.2} | {:.1} | {:.1} |",
        reflect / here,
        structs / here,
    );
}

/// Measures both directions of a message.
fn measure<T: Message + Default + Serialize + DeserializeOwned>(
    report: &mut String,
    pool: &DescriptorPool,
    name: &str,
    message: &T,
) {
    let full_name = format!("transcode.bench.{name}");
    let plan = Registry::new(pool).message(&full_name).unwrap();
    let descriptor = pool.get_message_by_name(&full_name).unwrap();
    let proto = message.encode_to_vec();
    let mut json = Vec::new();
    plan.to_json(&proto, &PrintOptions::default(), &Limits::default(), &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    let again: T = serde_json::from_str(&json).unwrap();
    assert_eq!(again.encode_to_vec().len(), proto.len(), "the contenders read the same message");
    row(report, name, "JSON to protobuf", json.len(), &to_proto::<T>(&plan, &descriptor, &json));
    row(report, name, "protobuf to JSON", proto.len(), &to_json::<T>(&plan, &descriptor, &proto));
}

/// Converts for ten seconds.
fn repeat(pool: &DescriptorPool, name: &str, direction: &str) {
    let plan = Registry::new(pool).message(&format!("transcode.bench.{name}")).unwrap();
    let proto = match name {
        "Request" => structs::request().encode_to_vec(),
        "Page" => structs::page().encode_to_vec(),
        "Numbers" => structs::numbers().encode_to_vec(),
        _ => structs::blob().encode_to_vec(),
    };
    let mut json = Vec::new();
    plan.to_json(&proto, &PrintOptions::default(), &Limits::default(), &mut json).unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let mut out = Vec::new();
        if direction == "to_proto" {
            plan.to_proto(black_box(&json), &ParseOptions::default(), &Limits::default(), &mut out).unwrap();
        } else {
            plan.to_json(black_box(&proto), &PrintOptions::default(), &Limits::default(), &mut out).unwrap();
        }
        black_box(out);
    }
}

fn main() {
    let pool = pool();
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--here") {
        return repeat(&pool, &args[at + 1], &args[at + 2]);
    }
    let mut report = String::from(
        "| message | bytes of input | here, µs | prost-reflect, µs | prost and serde_json, µs | times prost-reflect | times structs |\n\
         |---|---|---|---|---|---|---|\n",
    );
    measure(&mut report, &pool, "Request", &structs::request());
    measure(&mut report, &pool, "Page", &structs::page());
    measure(&mut report, &pool, "Numbers", &structs::numbers());
    measure(&mut report, &pool, "Blob", &structs::blob());
    print!("{report}");
    if let Some(at) = args.iter().position(|arg| arg == "--report") {
        fs::write(&args[at + 1], report).unwrap();
    }
}
