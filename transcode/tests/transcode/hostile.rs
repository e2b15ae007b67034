//! Hostile input ends in an error within the limits, in time linear in the input, and never in a panic.

use std::time::{Duration, Instant};

use prost::Message as _;
use transcode::{ErrorKind, Limits, ParseOptions, PrintOptions};

use crate::{
    generate::{Random, message},
    support::{OLD, PROTO3, descriptor, plan, text, to_json, to_proto, to_proto_with},
};

/// Longer than any conversion of a megabyte takes, even in a debug build on a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn fails_soon(json: &str, kind: ErrorKind) {
    let started = Instant::now();
    for ignore_unknown_fields in [false, true] {
        let error = to_proto_with(PROTO3, json.as_bytes(), &ParseOptions { ignore_unknown_fields }).unwrap_err();
        assert_eq!(error.kind, kind, "{error}: {json:.60}");
        assert!(error.to_string().len() < 2_000);
    }
    assert!(started.elapsed() < SOON, "{json:.60}");
}

#[test]
fn deep_json_is_refused() {
    const MEGABYTE: usize = 1 << 20;
    fails_soon(&"[".repeat(MEGABYTE), ErrorKind::Value);
    fails_soon(&format!(r#"{{"optionalValue":{}"#, "[".repeat(MEGABYTE)), ErrorKind::Limit);
    fails_soon(&format!(r#"{{"optionalValue":{}"#, r#"{"a":"#.repeat(MEGABYTE / 5)), ErrorKind::Limit);
    fails_soon(&r#"{"recursiveMessage":"#.repeat(MEGABYTE / 20), ErrorKind::Limit);
    let ignored = format!(r#"{{"unknown":{}"#, "[".repeat(MEGABYTE));
    let error = to_proto_with(PROTO3, ignored.as_bytes(), &ParseOptions { ignore_unknown_fields: true }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn the_largest_depth_fits_the_stack_of_a_thread() {
    let limits = Limits { depth: usize::MAX, ..Limits::default() };
    let nested = |depth| format!("{}{{}}{}", r#"{"recursiveMessage":"#.repeat(depth), "}".repeat(depth));
    let mut proto = Vec::new();
    let options = ParseOptions::default();
    plan(PROTO3).to_proto(nested(Limits::MAX_DEPTH - 1).as_bytes(), &options, &limits, &mut proto).unwrap();
    let error = plan(PROTO3).to_proto(nested(Limits::MAX_DEPTH).as_bytes(), &options, &limits, &mut Vec::new());
    assert_eq!(error.unwrap_err().kind, ErrorKind::Limit);
    let mut json = Vec::new();
    plan(PROTO3).to_json(&proto, &PrintOptions::default(), &limits, &mut json).unwrap();
    assert_eq!(json, nested(Limits::MAX_DEPTH - 1).as_bytes());
    let mut deeper = vec![0xDA, 0x01];
    prost::encoding::encode_varint(proto.len() as u64, &mut deeper);
    deeper.extend(proto);
    let error = plan(PROTO3).to_json(&deeper, &PrintOptions::default(), &limits, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn deep_groups_are_refused() {
    for (start, end) in [(vec![0x0B], vec![0x0C]), (vec![0xA3, 0x06], vec![0xA4, 0x06])] {
        let proto = [start.repeat(100_000), end.repeat(100_000)].concat();
        for name in [OLD, PROTO3] {
            assert_eq!(to_json(name, &proto).unwrap_err().kind, ErrorKind::Limit);
        }
    }
}

#[test]
fn malformed_text_is_refused() {
    for (json, kind) in [
        ("\u{feff}{}", ErrorKind::Syntax),
        (r#"{"optionalString":"\ud800x"}"#, ErrorKind::Syntax),
        (r#"{"optionalString":"\udc00\ud800"}"#, ErrorKind::Syntax),
        ("{\"optionalString\":\"a\u{1}b\"}", ErrorKind::Syntax),
        ("{\"optionalString\":\"a\nb\"}", ErrorKind::Syntax),
        (r#"{"optionalString":"\x"}"#, ErrorKind::Syntax),
        (r#"{"optionalString":"abc"#, ErrorKind::Syntax),
        (r#"{"optionalString":"abc\"#, ErrorKind::Syntax),
        (r#"{"optionalString":"\u00"}"#, ErrorKind::Syntax),
        (r#"{"optionalString":"\u+123"}"#, ErrorKind::Syntax),
        (r#"{"optionalDouble":1e400}"#, ErrorKind::Value),
        (r#"{"optionalValue":1e400}"#, ErrorKind::Value),
        (r#"{"optionalDouble":-}"#, ErrorKind::Value),
        (r#"{"optionalInt32":0x10}"#, ErrorKind::Syntax),
        (r#"{"optionalBool":truex}"#, ErrorKind::Value),
        (r#"{"optionalBool":tru"#, ErrorKind::Syntax),
        (r#"{"optionalInt32":1}x"#, ErrorKind::Syntax),
        (r#"{"optionalInt32":1},"#, ErrorKind::Syntax),
        (r#"{"optionalInt32"}"#, ErrorKind::Syntax),
        (r#"{"#, ErrorKind::Syntax),
        (r#"{"optionalInt32":"#, ErrorKind::Syntax),
        (r#"[]"#, ErrorKind::Value),
        (" \t\r\n", ErrorKind::Syntax),
    ] {
        let error = to_proto(PROTO3, json).unwrap_err();
        assert_eq!(error.kind, kind, "{json}: {error}");
    }
    for bytes in [&b"{\"optionalString\":\"\xFF\"}"[..], b"{\"optionalString\":\"\xED\xA0\x80\"}", b"\xC0\x80"] {
        assert_eq!(to_proto(PROTO3, bytes).unwrap_err().kind, ErrorKind::Syntax);
    }
}

#[test]
fn overlong_numbers_are_refused() {
    for field in ["optionalInt32", "optionalDouble", "optionalValue", "unknown"] {
        let json = format!(r#"{{"{field}":{}}}"#, "1".repeat(1 << 20));
        let options = ParseOptions { ignore_unknown_fields: true };
        assert_eq!(to_proto_with(PROTO3, json.as_bytes(), &options).unwrap_err().kind, ErrorKind::Limit, "{field}");
    }
    let quoted = format!(r#"{{"optionalInt32":"{}"}}"#, "1".repeat(1 << 20));
    assert_eq!(to_proto(PROTO3, quoted).unwrap_err().kind, ErrorKind::Value);
    let long = format!(r#"{{"optionalDouble":0.{}1}}"#, "0".repeat(900));
    assert_eq!(to_json(PROTO3, &to_proto(PROTO3, long).unwrap()).unwrap(), "{}");
}

#[test]
fn elements_are_counted() {
    let limits = Limits { elements: 1000, ..Limits::default() };
    let ones = |count: usize| vec!["1"; count].join(",");
    for json in [
        format!(r#"{{"repeatedInt32":[{}]}}"#, ones(1000)),
        format!(r#"{{"optionalValue":[{}]}}"#, ones(1000)),
        format!(r#"{{"unknown":[{}]}}"#, ones(1000)),
        format!(r#"{{"repeatedNestedMessage":[{}]}}"#, vec!["{}"; 1000].join(",")),
        format!(r#"{{"repeatedNestedMessage":[{}]}}"#, vec![r#"{"a":1}"#; 500].join(",")),
    ] {
        let options = ParseOptions { ignore_unknown_fields: true };
        let error = plan(PROTO3).to_proto(json.as_bytes(), &options, &limits, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit);
    }
    let within = format!(r#"{{"repeatedInt32":[{}]}}"#, ones(999));
    plan(PROTO3).to_proto(within.as_bytes(), &ParseOptions::default(), &limits, &mut Vec::new()).unwrap();
    for list in ["repeated_int32", "unpacked_int32"] {
        for (count, is_ok) in [(1000, true), (1001, false)] {
            let proto = text(PROTO3, &format!("{list}: [{}]", ones(count))).encode_to_vec();
            let printed = plan(PROTO3).to_json(&proto, &PrintOptions::default(), &limits, &mut Vec::new());
            assert_eq!(printed.is_ok(), is_ok, "{list} {count}");
        }
    }
    let entries = [0xC2, 0x03, 0x00].repeat(1001);
    let error = plan(PROTO3).to_json(&entries, &PrintOptions::default(), &limits, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit);
}

#[test]
fn input_and_output_are_bounded() {
    let limits = Limits { input: 10, ..Limits::default() };
    let error = plan(PROTO3).to_proto(b"{         }", &ParseOptions::default(), &limits, &mut Vec::new()).unwrap_err();
    assert_eq!((error.kind, error.offset), (ErrorKind::TooLong, 10));
    let error = plan(PROTO3).to_json(&[0; 11], &PrintOptions::default(), &limits, &mut Vec::new()).unwrap_err();
    assert_eq!((error.kind, error.offset), (ErrorKind::TooLong, 10));

    let limits = Limits { output: 10_000, ..Limits::default() };
    let numbers = format!(r#"{{"optionalValue":[{}]}}"#, vec!["1"; 1000].join(","));
    let mut out = Vec::new();
    let error = plan(PROTO3).to_proto(numbers.as_bytes(), &ParseOptions::default(), &limits, &mut out).unwrap_err();
    assert_eq!((error.kind, out.capacity() < 20_000), (ErrorKind::TooLong, true));
    // Two bytes for each message, and more than a thousand of defaults.
    let defaults = PrintOptions { always_print_fields_with_no_presence: true, ..PrintOptions::default() };
    let empty = [0xDA, 0x01, 0x00].repeat(100);
    let list = [[0x82, 0x03, 0x02, 0x12, 0x00].repeat(1000), empty].concat();
    let mut out = b"before".to_vec();
    let error = plan(PROTO3).to_json(&list, &defaults, &limits, &mut out).unwrap_err();
    assert_eq!((error.kind, out.capacity() < 40_000, &out[..]), (ErrorKind::TooLong, true, &b"before"[..]));
}

#[test]
fn types_that_are_found_late_are_bounded() {
    let mut json = r#"{"@type":"a/google.protobuf.Empty"}"#.to_owned();
    for depth in 1..12 {
        json = format!(r#"{{"value":{json},"@type":"a/google.protobuf.Any"}}"#);
        let result = to_proto(PROTO3, format!(r#"{{"optionalAny":{json}}}"#));
        assert_eq!(result.map_err(|e| e.kind).err(), (depth > 8).then_some(ErrorKind::Limit), "{depth}");
    }
}

fn time_of(convert: impl FnOnce()) -> Duration {
    let started = Instant::now();
    convert();
    started.elapsed()
}

/// Whether a conversion of 16 times the length takes about 16 times as long; the square would be 256 times. One of several
/// rounds suffices, as other processes disturb.
fn is_linear(small: &dyn Fn(), large: &dyn Fn()) -> bool {
    (0..20).any(|_| {
        let small = time_of(|| (0..16).for_each(|_| small()));
        time_of(large) < small * 6
    })
}

#[test]
fn time_grows_with_the_length_of_the_input() {
    let keys = |count: usize| -> String {
        let members: Vec<String> = (0..count).map(|n| format!("\"{n:08}\":\"\"")).collect();
        format!(r#"{{"mapStringString":{{{}}}}}"#, members.join(","))
    };
    let deep = |count: usize| {
        let text = "x".repeat(count);
        format!(r#"{}{{"optionalString":"{text}"}}{}"#, r#"{"recursiveMessage":"#.repeat(90), "}".repeat(90))
    };
    let escaped = |count: usize| format!(r#"{{"optionalString":"{}"}}"#, r"\n".repeat(count));
    for (name, json) in [("keys", &keys as &dyn Fn(usize) -> String), ("deep", &deep), ("escaped", &escaped)] {
        let [small, large] = [2_000, 32_000].map(|count| {
            let json = json(count);
            let proto = to_proto(PROTO3, &json).unwrap();
            (json, proto)
        });
        let parse = |json: &str| drop(to_proto(PROTO3, json));
        let print = |proto: &[u8]| drop(to_json(PROTO3, proto));
        assert!(is_linear(&|| parse(&small.0), &|| parse(&large.0)), "parsing {name}");
        assert!(is_linear(&|| print(&small.1), &|| print(&large.1)), "printing {name}");
    }
}

#[test]
fn changed_bytes_never_panic() {
    let mut random = Random::new(7);
    for _ in 0..300 {
        let mut proto = message(&mut random, &descriptor(PROTO3), 3, 15).encode_to_vec();
        let mut json = to_json(PROTO3, &proto).unwrap().into_bytes();
        for bytes in [&mut proto, &mut json] {
            for _ in 0..1 + random.below(4) {
                if bytes.is_empty() {
                    continue;
                }
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => drop(bytes.remove(at)),
                    _ => bytes.truncate(at),
                }
            }
        }
        for name in [PROTO3, OLD] {
            drop(to_proto(name, &json));
            drop(to_json(name, &proto));
        }
    }
}
