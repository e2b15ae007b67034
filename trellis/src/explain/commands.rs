//! The commands that call a method: one for each protocol and program.

mod http_request;
mod python;

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use gateway::{CatalogMethod, HttpForm, config::TokenIssuerConfig};
use serde::Serialize;
use serde_json::{Value, json};
use transcode::{Limits, ParseOptions, openapi::samples};

use super::{Idempotency, Kind, gateway_url::GatewayUrl, name, shell};
use crate::config::Config;
use http_request::HttpRequest;

/// A command that works when it is pasted.
#[derive(Debug, Serialize)]
pub(super) struct CallCommand {
    pub(super) protocol: String,
    pub(super) program: Program,
    pub(super) text: String,
}

/// The program that runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Program {
    Curl,
    Grpcurl,
    TypeScript,
    Python,
}

/// A method and the gateway that is called.
pub(super) struct Call<'a> {
    pub(super) method: &'a CatalogMethod,
    pub(super) kind: Kind,
    pub(super) needs_token: bool,
    pub(super) needs_certificate: bool,
    /// The other issuers whose tokens the method's upstream accepts, by name.
    pub(super) issuers: &'a [(&'a str, &'a TokenIssuerConfig)],
    pub(super) gateway: &'a GatewayUrl,
    pub(super) config: &'a Config,
}

/// GraphQL over a WebSocket.
pub(super) const GRAPHQL_SOCKET: &str = "GraphQL over a WebSocket";
const JSON: &str = "application/json";
/// The files with the certificate and the key of a client, as the commands name them.
const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";

impl Call<'_> {
    /// The commands, and what a reader must know besides.
    pub(super) fn commands(&self) -> Result<(Vec<CallCommand>, Vec<String>), String> {
        // The fields that a path holds are required.
        let in_path = self.forms().next().map(|form| &form.variables[..]).unwrap_or_default();
        let json = samples::request(&self.method.descriptor.input(), in_path).to_string();
        let encoded = self.encode(&json)?;
        let forms: Vec<_> = self.forms().map(|form| self.http_request(form)).collect();
        let mut all = Vec::new();
        let mut add =
            |protocol: &str, program, text| all.push(CallCommand { protocol: protocol.to_owned(), program, text });
        for request in &forms {
            let protocol = match forms.len() {
                1 => "JSON over HTTP".to_owned(),
                _ => format!("JSON over HTTP, {} {}", request.method, request.path),
            };
            add(&protocol, Program::Curl, self.curl_http(request, &[]));
        }
        if let Some(request) = self.events(&forms) {
            add("server-sent events", Program::Curl, self.curl_http(request, &[accept_events()]));
        }
        if let Some(text) = self.graphql(&json) {
            add("GraphQL", Program::Curl, text);
        }
        add("Connect", Program::Curl, self.connect(&json));
        if self.kind == Kind::Unary && Idempotency::of(self.method) == Idempotency::NoSideEffects {
            add("Connect with GET", Program::Curl, self.connect_get(&json));
        }
        if self.kind.has_one_request() {
            add("gRPC-Web", Program::Curl, self.grpc_web(&encoded));
        }
        add("gRPC", Program::Grpcurl, self.grpcurl(&json));
        if let Some(text) = self.typescript(&json, forms.first()) {
            add("JSON", Program::TypeScript, text);
        }
        if self.config.limits.reflection {
            add("gRPC", Program::Python, self.grpcio(&json));
        }
        add("WebSocket", Program::Python, self.websocket(&json));
        if let Some(text) = self.graphql_socket(&json) {
            add(GRAPHQL_SOCKET, Program::Python, text);
        }
        Ok((all, self.notes(&json)))
    }

    /// The HTTP forms that the gateway serves: a stream of requests must be one body of bytes.
    fn forms(&self) -> impl Iterator<Item = &HttpForm> {
        self.method.forms.iter().filter(|form| self.kind.has_one_request() || form.takes_bytes)
    }

    /// The request for server-sent events: that of EventSource, which uses GET, if there is one. Bytes are no events.
    fn events<'f>(&self, forms: &'f [HttpRequest]) -> Option<&'f HttpRequest> {
        let mut streams = forms.iter().filter(|form| self.kind == Kind::ServerStream && !form.gives_bytes);
        let first = streams.clone().next();
        streams.find(|form| form.method == "GET").or(first)
    }

    fn notes(&self, json: &str) -> Vec<String> {
        let mut notes = Vec::new();
        let names = |(name, of): &(&str, &TokenIssuerConfig)| {
            let (audiences, name) = (of.audiences.join(" or "), kit::config::quoted(name));
            format!("{} for the audience {audiences} (gateway.token_issuers.{name})", of.issuer)
        };
        if self.needs_token && !self.issuers.is_empty() {
            let all: Vec<_> = self.issuers.iter().map(names).collect();
            notes.push(format!(
                "ACCESS_TOKEN holds an access token of {}; `trellis token check` examines one",
                all.join(", or of ")
            ));
        } else if self.needs_token {
            notes.push(
                "ACCESS_TOKEN holds the access token of a user (`auth.access_lifetime`): run the commands at the top \
                 again when it has expired"
                    .to_owned(),
            );
        }
        if self.needs_certificate && self.shows_certificate() {
            notes.push(format!(
                "{CERTIFICATE} and {KEY} are the certificate of the client and its key (PEM), of an authority in \
                 gateway.tls.client_ca; a page uses a certificate that is installed in the browser"
            ));
        } else if self.needs_certificate {
            notes.push(
                "calls need a client certificate, which only connections over TLS have: name such an address with \
                 --gateway https://HOST"
                    .to_owned(),
            );
        }
        if !self.kind.has_one_request() && self.forms().next().is_none() {
            notes.push("a page sends the stream over a WebSocket: gRPC-Web and GraphQL cannot".to_owned());
        } else if self.kind == Kind::ServerStream && self.method.forms.is_empty() {
            notes.push(
                "the method has no HTTP form: a page reads the stream over a WebSocket, or with a client of gRPC-Web \
                 or Connect"
                    .to_owned(),
            );
        }
        notes.extend(self.without_graphql());
        if !self.config.limits.reflection {
            notes.push(
                "limits.reflection is off: grpcurl reads the contract from files, and Python needs generated code"
                    .to_owned(),
            );
        }
        if let Some(samples) = samples_of(json) {
            notes.push(format!("the values of the request are samples; replace them with your own: {samples}"));
        }
        for field in self.method.descriptor.input().fields() {
            if let Some(pattern) = samples::pattern(&field) {
                notes.push(format!("{} must match {pattern}", field.json_name()));
            }
        }
        notes
    }

    /// Why the method has no form in GraphQL, if a setting is the reason.
    fn without_graphql(&self) -> Option<String> {
        let config = &self.config.gateway;
        if !config.graphql.enabled {
            return Some("GraphQL is off: set gateway.graphql.enabled = true".to_owned());
        }
        let prefix = self.method.upstream.as_ref()?;
        let takes_part = config.external.get(prefix).is_some_and(|of| of.graphql);
        let key = kit::config::quoted(prefix);
        (!takes_part).then(|| format!("the upstream has no part in GraphQL: set gateway.external.{key}.graphql = true"))
    }

    /// The protobuf of a request.
    fn encode(&self, json: &str) -> Result<Vec<u8>, String> {
        let name = self.method.descriptor.input().full_name().to_owned();
        let plan = self.method.registry.message(&name).ok_or_else(|| format!("{name} is not declared"))?;
        let mut encoded = Vec::new();
        plan.to_proto(json.as_bytes(), &ParseOptions::default(), &Limits::default(), &mut encoded)
            .map_err(|e| format!("the sample of {name} is invalid: {e}"))?;
        Ok(encoded)
    }

    fn url(&self) -> String {
        self.gateway.url() + &self.method.path
    }

    /// The options of curl and grpcurl with the access token.
    fn token(&self) -> Option<String> {
        // Double quotes: the shell inserts the token.
        self.needs_token.then(|| r#"-H "authorization: Bearer $ACCESS_TOKEN""#.to_owned())
    }

    /// Whether the commands present a client certificate.
    fn shows_certificate(&self) -> bool {
        self.needs_certificate && self.gateway.is_secure()
    }

    /// `curl` with an address, the access token and further options. Streams are not buffered.
    fn curl(&self, url: &str, options: impl IntoIterator<Item = String>) -> String {
        let is_stream = matches!(self.kind, Kind::ServerStream | Kind::TwoWayStream);
        let curl = if is_stream { "curl -sS -N" } else { "curl -sS" };
        let certificate = self.shows_certificate().then(|| format!("--cert {CERTIFICATE} --key {KEY}"));
        let all =
            [curl.to_owned(), shell::quoted(url)].into_iter().chain(certificate).chain(self.token()).chain(options);
        shell::command(&all.collect::<Vec<_>>())
    }

    /// An operation that calls the method. `None`: the method has no root field.
    fn operation(&self, json: &str) -> Option<String> {
        let request: Value = serde_json::from_str(json).ok()?;
        Some(self.method.graphql.as_ref()?.document(&request))
    }

    fn graphql(&self, json: &str) -> Option<String> {
        let query = self.operation(json)?;
        let events = (self.kind == Kind::ServerStream).then(accept_events);
        let options = [content_type(JSON), data(&json!({"query": query}).to_string())];
        Some(self.curl(&format!("{}/graphql", self.gateway.url()), events.into_iter().chain(options)))
    }

    fn connect(&self, json: &str) -> String {
        if self.kind == Kind::Unary {
            return self.curl(&self.url(), [content_type(JSON), data(json)]);
        }
        // A frame: flags, length, message.
        let length = u32::try_from(json.len()).unwrap_or_default().to_be_bytes();
        let length: String = length.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            write!(text, "\\{byte:03o}").ok();
            text
        });
        let frame = format!("printf '\\000{length}%s' {} |", shell::quoted(json));
        let typed = content_type("application/connect+json");
        let curl = self.curl(&self.url(), [typed, "--data-binary @-".to_owned(), "--output -".to_owned()]);
        format!("{frame}\n{curl}")
    }

    fn connect_get(&self, json: &str) -> String {
        let message = shell::quoted(&format!("message={json}"));
        let parameters = ["connect=v1", "encoding=json", &message].map(|of| format!("--data-urlencode {of}"));
        self.curl(&self.url(), ["--get".to_owned()].into_iter().chain(parameters))
    }

    fn grpc_web(&self, encoded: &[u8]) -> String {
        let length = u32::try_from(encoded.len()).unwrap_or_default().to_be_bytes();
        let frame = STANDARD.encode([&[0], &length[..], encoded].concat());
        // A failure without messages has its status in the headers.
        let show_headers = "-i".to_owned();
        self.curl(&self.url(), [show_headers, content_type("application/grpc-web-text"), data(&frame)])
    }

    fn grpcurl(&self, json: &str) -> String {
        let mut all = vec!["grpcurl".to_owned()];
        if !self.gateway.is_secure() {
            all.push("-plaintext".to_owned());
        }
        if self.shows_certificate() {
            all.push(format!("-cert {CERTIFICATE} -key {KEY}"));
        }
        all.extend(self.contract_files());
        all.extend(self.token());
        all.push(format!("-d {}", shell::quoted(json)));
        all.push(format!("{} {}", self.gateway.address(), name(self.method)));
        all.join(" ")
    }

    /// The options of grpcurl that name the contract, for a gateway without reflection.
    fn contract_files(&self) -> Vec<String> {
        if self.config.limits.reflection {
            return Vec::new();
        }
        match &self.method.upstream {
            None => {
                let file = self.method.descriptor.parent_file().name().to_owned();
                vec!["-import-path proto -import-path proto/third_party".to_owned(), format!("-proto {file}")]
            }
            Some(prefix) => {
                let file = self.config.gateway.external.get(prefix).map(|of| of.descriptors.as_str());
                file.map(|file| format!("-protoset {}", shell::quoted(file))).into_iter().collect()
            }
        }
    }

    fn http_request(&self, form: &HttpForm) -> HttpRequest {
        HttpRequest::new(&self.gateway.url(), &self.method.descriptor.input(), form)
    }

    fn curl_http(&self, request: &HttpRequest, more: &[String]) -> String {
        let mut options = Vec::new();
        // With a body curl uses POST.
        let usual = if request.body.is_some() { "POST" } else { "GET" };
        if request.method != usual {
            options.push(format!("-X {}", request.method));
        }
        options.extend(more.iter().cloned());
        if request.body.is_some() || request.method == "POST" {
            options.push(content_type(request.content_type));
            options.push(data(request.body.as_deref().unwrap_or_default()));
        }
        self.curl(&request.url, options)
    }

    /// A program of the Fetch API, for Node.js and pages. `None`: a stream without an HTTP form needs a client library, and
    /// so does a certificate of the client.
    fn typescript(&self, json: &str, form: Option<&HttpRequest>) -> Option<String> {
        if self.shows_certificate() {
            return None;
        }
        let body = Some(json.to_owned());
        let connect = HttpRequest {
            method: "POST".to_owned(),
            path: String::new(),
            url: self.url(),
            body,
            content_type: JSON,
            gives_bytes: false,
        };
        let (request, read) = match self.kind {
            Kind::Unary => match form.filter(|form| form.content_type == JSON).unwrap_or(&connect) {
                form if form.gives_bytes => (form, "console.log(response.status, await response.text());"),
                form => (form, "console.log(response.status, await response.json());"),
            },
            Kind::ServerStream => (
                form?,
                "for await (const text of response.body?.pipeThrough(new TextDecoderStream()) ?? []) console.log(text);",
            ),
            Kind::ClientStream | Kind::TwoWayStream => return None,
        };
        let mut headers = Vec::new();
        if request.body.is_some() || request.method == "POST" {
            headers.push(r#""content-type": "application/json""#);
        }
        if self.needs_token {
            headers.push("authorization: `Bearer ${process.env.ACCESS_TOKEN}`");
        }
        let mut text = format!("const response = await fetch({:?}, {{\n", request.url);
        // Writing to a string cannot fail.
        if request.method != "GET" {
            writeln!(text, "  method: {:?},", request.method).ok();
        }
        if !headers.is_empty() {
            writeln!(text, "  headers: {{ {} }},", headers.join(", ")).ok();
        }
        if let Some(body) = &request.body {
            writeln!(text, "  body: JSON.stringify({body}),").ok();
        }
        writeln!(text, "}});\n{read}").ok();
        Some(text)
    }
}

/// The fields of a sample with their values. `None`: it has none.
fn samples_of(json: &str) -> Option<String> {
    let request: Value = serde_json::from_str(json).ok()?;
    let all: Vec<_> = request.as_object()?.iter().map(|(name, value)| format!("{name} ({value})")).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn accept_events() -> String {
    "-H 'accept: text/event-stream'".to_owned()
}

fn content_type(media_type: &str) -> String {
    format!("-H 'content-type: {media_type}'")
}

fn data(text: &str) -> String {
    format!("-d {}", shell::quoted(text))
}
