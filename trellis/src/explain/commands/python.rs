//! Programs in Python.

use super::{CERTIFICATE, Call, KEY, Kind, name};

impl Call<'_> {
    /// A program of grpcio, which reads the contract by reflection.
    pub(super) fn grpcio(&self, json: &str) -> String {
        let (service, method) = name(self.method).split_once('/').unwrap_or_default();
        let address = self.gateway.address();
        let credentials = match self.shows_certificate() {
            true => format!("None, open({KEY:?}, \"rb\").read(), open({CERTIFICATE:?}, \"rb\").read()"),
            false => String::new(),
        };
        let channel = match self.gateway.is_secure() {
            true => format!("grpc.secure_channel({address:?}, grpc.ssl_channel_credentials({credentials}))"),
            false => format!("grpc.insecure_channel({address:?})"),
        };
        let (direction, argument) = match self.kind {
            Kind::Unary => ("unary_unary", "request"),
            Kind::ServerStream => ("unary_stream", "request"),
            Kind::ClientStream => ("stream_unary", "iter([request])"),
            Kind::TwoWayStream => ("stream_stream", "iter([request])"),
        };
        let token = if self.needs_token {
            r#", metadata=[("authorization", f"Bearer {os.environ['ACCESS_TOKEN']}")]"#
        } else {
            ""
        };
        let called = format!("call({argument}{token})");
        let read = match self.kind {
            Kind::Unary | Kind::ClientStream => format!("print({called})"),
            Kind::ServerStream | Kind::TwoWayStream => format!("for response in {called}:\n    print(response)"),
        };
        let import = if self.needs_token { "import os\n\n" } else { "" };
        // A JSON text as a string of Python: JSON escapes control characters, and Rust those that Python does.
        format!(
            r#"{import}import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = {channel}
contracts = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
method = contracts.FindServiceByName("{service}").methods_by_name["{method}"]
Request = message_factory.GetMessageClass(method.input_type)
Response = message_factory.GetMessageClass(method.output_type)
call = channel.{direction}(
    "/{service}/{method}", request_serializer=Request.SerializeToString, response_deserializer=Response.FromString
)
request = json_format.Parse({json:?}, Request())
{read}
"#
        )
    }

    /// A program of the library `websockets`: one socket for the call.
    pub(super) fn websocket(&self, json: &str) -> String {
        let (import, token) = if self.needs_token {
            (
                "import json\nimport os\n\n",
                "    metadata = {\"authorization\": f\"Bearer {os.environ['ACCESS_TOKEN']}\"}\n    \
                 socket.send(json.dumps({\"metadata\": metadata}))\n",
            )
        } else {
            ("", "")
        };
        let message = format!(r#"{{"message": {json}}}"#);
        let end = if self.kind.has_one_request() { "" } else { "    socket.send('{\"end\": true}')\n" };
        let body = format!(
            r#"{token}    socket.send({message:?})
{end}    for frame in socket:
        print(frame)
"#
        );
        self.socket(import, &self.method.path, "trellis.json.v1", &body)
    }

    /// A program of the library `websockets`: a socket of GraphQL, for the subscription. `None`: the method has none.
    pub(super) fn graphql_socket(&self, json: &str) -> Option<String> {
        let query = self.operation(json).filter(|_| self.kind == Kind::ServerStream)?;
        let (import, payload) = match self.needs_token {
            true => ("import json\nimport os\n\n", r#"{"authorization": f"Bearer {os.environ['ACCESS_TOKEN']}"}"#),
            false => ("import json\n\n", "{}"),
        };
        let subscribe = serde_json::json!({"id": "1", "type": "subscribe", "payload": {"query": query}}).to_string();
        let body = format!(
            r#"    socket.send(json.dumps({{"type": "connection_init", "payload": {payload}}}))
    print(socket.recv())
    socket.send({subscribe:?})
    for message in socket:
        print(message)
        if json.loads(message)["type"] in ("complete", "error"):
            break
"#
        );
        Some(self.socket(import, "/graphql", "graphql-transport-ws", &body))
    }

    /// A program that opens a socket at `path` and runs `body` with it.
    fn socket(&self, import: &str, path: &str, subprotocol: &str, body: &str) -> String {
        let scheme = if self.gateway.is_secure() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}{path}", self.gateway.origin.authority);
        let (import_tls, context, tls) = if self.shows_certificate() {
            let context =
                format!("tls = ssl.create_default_context()\ntls.load_cert_chain({CERTIFICATE:?}, {KEY:?})\n");
            ("import ssl\n", context, ", ssl=tls")
        } else {
            ("", String::new(), "")
        };
        format!(
            r#"{import_tls}{import}from websockets.sync.client import connect

{context}with connect({url:?}, subprotocols=[{subprotocol:?}]{tls}) as socket:
{body}"#
        )
    }
}
