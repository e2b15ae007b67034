//! The layers, the highest first. Each has its reason: what belongs there, or why it stands above the next one.

use super::{Crate, Layer};

/// Every crate with layers.
pub(super) const CRATES: &[Crate<'static>] =
    &[GATEWAY, TRANSCODE, GRAPHQL, KIT, KIT_DATA, USERS, AUTH, MESSAGING, XTASK];

const fn layer(modules: &'static [&'static str], reason: &'static str) -> Layer {
    Layer { modules, reason }
}

const GATEWAY: Crate<'static> = Crate {
    folder: "gateway",
    layers: &[
        layer(
            &["front", "fuzz", "limits_report", "method_catalog", "page_origin"],
            "a request of any kind; what `trellis policy` and `trellis explain` print",
        ),
        layer(&["gateway"], "the parts put together"),
        layer(&["graphql"], "an operation makes several calls"),
        layer(&["rpc"], "a call uses the snapshot, its route and its upstream"),
        layer(&["state"], "a snapshot holds the routes"),
        layer(&["routes"], "a route names an upstream and its limits"),
        layer(&["server"], "it serves any handler, and so knows nothing of calls"),
        layer(&["authorization"], "it asks a service through an upstream's connection"),
        layer(&["external"], "it reads descriptors through an upstream's connection"),
        layer(&["issuers"], "it reads keys of issuers over TLS; a route names those of its upstream"),
        layer(&["upstream"], "a request body is decoded by the client's protocol"),
        layer(&["route_rules"], "rules by the names of methods, among them overrides of rate limits"),
        layer(&["rate_limit"], "it needs the client's address and the configuration only"),
        layer(&["protocol"], "one file for each client protocol; it needs no connection"),
        layer(&["http", "tls"], "headers, CORS, client addresses, the console, certificates"),
        layer(
            &["config", "io", "own_services", "reason"],
            "the keys of the configuration; bodies and connections as bytes; tonic services; reasons of errors",
        ),
    ],
};

const TRANSCODE: Crate<'static> = Crate {
    folder: "transcode",
    layers: &[
        layer(&["openapi"], "it describes the HTTP forms"),
        layer(&["http_rule", "status"], "requests and errors of the HTTP forms"),
        layer(&["registry"], "the entry points"),
        layer(&["field_path"], "a field by its path, in both directions"),
        layer(&["parse", "print"], "the two directions; they share no code"),
        layer(&["plan"], "compiled descriptors; keys of members are JSON text"),
        layer(&["json", "text", "wire"], "the formats, without descriptors"),
        layer(&["error", "options"], "errors and limits, which all parts need"),
    ],
};

const GRAPHQL: Crate<'static> = Crate {
    folder: "graphql",
    layers: &[
        layer(&["document"], "a document that calls one method"),
        layer(&["api"], "an operation uses all parts"),
        layer(&["schema", "subscription"], "the schema, and operations with several responses"),
        layer(&["execution"], "an operation makes calls, loads objects and writes its response"),
        layer(&["follow", "references", "write"], "what the fields of a response refer to, and their text"),
        layer(
            &["collect", "introspection", "loader", "output"],
            "merged fields, the schema as text, one call for many ids",
        ),
        layer(&["plan", "validation"], "the fields that are executed"),
        layer(&["fields", "panics"], "the fields of all objects, and how their values are found"),
        layer(&["analysis", "arguments", "calls", "reply"], "requests and responses of calls"),
        layer(&["input", "names", "parse", "stop"], "values of arguments, names of types and fields, the parser"),
        layer(&["escapes"], "what the parser cannot read"),
        layer(&["caller", "json_text", "limits", "refused"], "values that the other parts share"),
        layer(&["budget", "nesting", "scalars", "source", "typename"], "values without a dependency"),
        layer(&["pieces"], "the tokens of a document"),
    ],
};

const KIT: Crate<'static> = Crate {
    folder: "services/kit",
    layers: &[
        layer(&["admin"], "the admin listener shows the state of everything below"),
        layer(&["server"], "the server stack, the one place that joins access, limits, health and metrics"),
        layer(&["access", "descriptors", "health", "repeated"], "decisions about a call and about readiness"),
        layer(&["audit"], "the record of a call names its caller"),
        layer(&["client"], "calls to other services"),
        layer(&["balance"], "the choice of an endpoint, and its connection"),
        layer(&["identity", "keys"], "what proves who calls"),
        layer(&["overload", "retry", "skew", "tls", "context"], "rules and state that clients and servers share"),
        layer(&["policy", "limits", "jwt"], "the contract's policies and the process's limits, as values"),
        layer(&["bus", "limiter", "record", "telemetry"], "signals and limits of all processes; logs and metrics"),
        layer(&["redis", "trace", "error"], "the connections to Redis; the trace context and errors on the wire"),
        layer(&["principal"], "the parties that make calls, as values"),
        layer(&["keyring"], "it reads a file of secrets"),
        layer(
            &["filter", "grpc", "jwk", "page", "reason", "rng", "secret_file", "shutdown"],
            "names, codecs and tools without a policy",
        ),
        layer(
            &["config", "cookie", "dns", "machine", "origin", "time"],
            "the ground: configuration values, names, time",
        ),
    ],
};

const KIT_DATA: Crate<'static> = Crate {
    folder: "services/kit-data",
    layers: &[
        layer(&["audit", "jobs"], "rows that a transaction of a store writes beside its own"),
        layer(&["store"], "connection pools and migrations"),
        layer(&["bulkhead"], "bounds that know no database"),
    ],
};

/// The layers of a service without an entry of its own, as `cargo xtask new-service` creates it.
pub(super) const SERVICE: &[Layer] = &[
    layer(&["api"], "converts messages, and errors to statuses"),
    layer(&["service"], "what the API is made of"),
    layer(&["config", "store"], "the settings, and the store's trait and SQL"),
    layer(&["domain"], "types and rules, without I/O"),
];

const USERS: Crate<'static> = Crate {
    folder: "services/users",
    layers: &[
        layer(&["api"], "converts messages, and errors to statuses"),
        layer(&["cleanup", "indexing", "service"], "background work, and what the API is made of"),
        layer(&["config", "store"], "the settings, and the store's trait and SQL"),
        layer(&["domain"], "types and rules, without I/O"),
    ],
};

const AUTH: Crate<'static> = Crate {
    folder: "services/auth",
    layers: &[
        layer(&["api"], "converts messages, and errors to statuses"),
        layer(&["cleanup", "deletion", "import", "sending"], "background work, and the import of accounts"),
        layer(&["service"], "what the API and the background work are made of"),
        layer(
            &["cookie", "keys", "mail", "password"],
            "the secrets of sessions and accounts; the texts and the delivery of mails",
        ),
        layer(&["config", "store"], "the settings, and the store's trait and SQL"),
        layer(&["domain"], "types and rules, without I/O"),
    ],
};

const MESSAGING: Crate<'static> = Crate {
    folder: "services/messaging",
    layers: &[
        layer(&["api"], "converts messages, and errors to statuses"),
        layer(&["delivery"], "streams entries to subscribed clients"),
        layer(&["service", "wire"], "what API and delivery are made of, and the messages that both send"),
        layer(&["config", "store"], "the settings, and the store's trait and SQL"),
        layer(&["domain"], "types and rules, without I/O"),
    ],
};

const XTASK: Crate<'static> = Crate {
    folder: "xtask",
    layers: &[
        layer(&["bench", "checks", "generate", "new_service", "soak", "suite"], "the commands"),
        layer(&["guide", "rust", "up", "upstreams", "web"], "the parts of a test run"),
        layer(&["environment", "postgres", "python", "redis", "tally"], "servers, tools and results of a test run"),
        layer(&["provision"], "installs what a run needs"),
        layer(&["scratch", "session"], "the folders and commands of a run"),
        layer(&["process"], "child processes"),
    ],
};
