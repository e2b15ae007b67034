//! Properties of both directions for arbitrary bytes. `cargo xtask soak fuzz` generates bytes; the tests replay those of
//! `fuzz/corpus`, which holds every earlier finding.

use transcode::{ErrorKind, ParseOptions};

use crate::support::{OLD, PROTO2, PROTO3, decode, is_equal, to_json, to_proto, to_proto_with};

/// A property and its name, which is also the folder of its corpus.
pub(crate) type Property = (&'static str, fn(&[u8]));

/// All properties.
pub(crate) const PROPERTIES: [Property; 2] = [("json", json), ("protobuf", protobuf)];

/// JSON is refused, or its message can be printed, read back as the same message, and printed again as the same JSON.
fn json(data: &[u8]) {
    for message in [PROTO3, PROTO2, OLD] {
        drop(to_proto_with(message, data, &ParseOptions { ignore_unknown_fields: true }));
        let Ok(proto) = to_proto(message, data) else { continue };
        decode(message, &proto);
        let printed = match to_json(message, &proto) {
            Ok(printed) => printed,
            // Extreme numbers and the limits of the output.
            Err(error) => {
                assert!(matches!(error.kind, ErrorKind::Limit | ErrorKind::TooLong), "{error}");
                continue;
            }
        };
        let again = to_proto(message, &printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
        assert!(is_equal(&decode(message, &again), &decode(message, &proto)), "{printed}");
        assert_eq!(to_json(message, &again).as_deref(), Ok(&*printed));
    }
}

/// Bytes are refused, or their JSON can be read back and printed again as the same JSON.
fn protobuf(data: &[u8]) {
    for message in [PROTO3, PROTO2, OLD] {
        let Ok(printed) = to_json(message, data) else { continue };
        let proto = to_proto(message, &printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
        decode(message, &proto);
        assert_eq!(to_json(message, &proto).as_deref(), Ok(&*printed));
    }
}
