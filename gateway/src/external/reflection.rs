//! Reads the descriptors of an upstream by gRPC reflection.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use kit::balance::Location;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio::time::timeout;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};
use tower::service_fn;

use crate::{tls::Trust, upstream::dial};

/// The current name, and the older one that most servers still serve. The messages are the same.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// The deadline of the whole exchange.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest declaration of an upstream: far beyond any real one.
const MAX_FILES: usize = 4_096;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The declaration of an upstream.
pub(crate) struct Reflected {
    /// The services that it serves.
    pub(crate) services: BTreeSet<String>,
    /// An encoded `google.protobuf.FileDescriptorSet`, the same for the same declarations. Its files may declare more
    /// services than the upstream serves.
    pub(crate) encoded: Vec<u8>,
}

/// A `google.protobuf.FileDescriptorSet` whose files are as the upstream encoded them: decoding and encoding would lose
/// their policies, which are in extensions.
#[derive(prost::Message)]
struct EncodedFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// A file, decoded and as the upstream encoded it.
struct ReflectedFile {
    decoded: FileDescriptorProto,
    encoded: Vec<u8>,
}

/// The descriptors of all services at `location` for which `wanted` holds, with what they import.
pub(crate) async fn fetch(
    location: &Location,
    trust: Option<&Trust>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Reflected, String> {
    let (place, trust) = (location.clone(), trust.cloned());
    let connector = service_fn(move |_| {
        let (place, trust) = (place.clone(), trust.clone());
        async move { dial(&place, trust.as_ref()).await.map(TokioIo::new) }
    });
    let fetching = async {
        let channel = Endpoint::from(location.origin()).connect_with_connector(connector).await;
        let channel = channel.map_err(|e| kit::error::chain(&e))?;
        let mut upstream = ReflectionClient::new(channel);
        let services = upstream.services().await?;
        let services: BTreeSet<String> = services.into_iter().filter(|name| wanted(name)).collect();
        let files = upstream.files(&services).await?;
        let set = EncodedFiles { file: files.into_iter().map(|file| file.encoded).collect() };
        Ok(Reflected { services, encoded: set.encode_to_vec() })
    };
    timeout(TIMEOUT, fetching).await.map_err(|_| format!("no descriptors within {TIMEOUT:?}"))?
}

struct ReflectionClient {
    grpc: Grpc<Channel>,
    path: &'static str,
}

impl ReflectionClient {
    fn new(channel: Channel) -> Self {
        Self { grpc: Grpc::new(channel).max_decoding_message_size(MAX_BYTES), path: PATHS[0] }
    }

    async fn services(&mut self) -> Result<Vec<String>, String> {
        let list = || vec![MessageRequest::ListServices(String::new())];
        let mut responses = self.request(list()).await;
        if responses.as_ref().is_err_and(|status| status.code() == Code::Unimplemented) {
            self.path = PATHS[1];
            responses = self.request(list()).await;
        }
        let responses = responses.map_err(|status| match status.code() {
            Code::Unimplemented => "reflection: the upstream serves none; set its `descriptors` to a file".to_owned(),
            code => format!("reflection: {code:?}: {}", status.message()),
        })?;
        Ok(responses
            .into_iter()
            .filter_map(|response| {
                if let MessageResponse::ListServicesResponse(list) = response { Some(list.service) } else { None }
            })
            .flatten()
            .map(|service| service.name)
            .collect())
    }

    /// The files that declare `services`, and all that they import.
    async fn files(&mut self, services: &BTreeSet<String>) -> Result<Vec<ReflectedFile>, String> {
        let mut files = BTreeMap::new();
        let mut requests: Vec<MessageRequest> =
            services.iter().cloned().map(MessageRequest::FileContainingSymbol).collect();
        let mut requested = BTreeSet::new();
        let mut bytes = 0;
        while !requests.is_empty() {
            let responses = self.request(requests).await;
            let responses =
                responses.map_err(|status| format!("reflection: {:?}: {}", status.code(), status.message()))?;
            for encoded in responses.into_iter().flat_map(encoded_files) {
                bytes += encoded.len();
                let decoded = FileDescriptorProto::decode(encoded.as_slice()).map_err(|e| e.to_string())?;
                files.insert(decoded.name().to_owned(), ReflectedFile { decoded, encoded });
            }
            if files.len() > MAX_FILES || bytes > MAX_BYTES {
                return Err(format!("more than {MAX_FILES} files or {MAX_BYTES} bytes are declared"));
            }
            requests = Vec::new();
            for name in missing(&files) {
                // A file that was requested once and not returned is missing.
                if !requested.insert(name.clone()) {
                    return Err(format!("{name} is imported, but the upstream does not return it"));
                }
                requests.push(MessageRequest::FileByFilename(name));
            }
        }
        Ok(sorted(files))
    }

    /// Sends the requests in one stream; an error response is an error.
    async fn request(&mut self, requests: Vec<MessageRequest>) -> Result<Vec<MessageResponse>, Status> {
        self.grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let count = requests.len();
        let requests = requests
            .into_iter()
            .map(|request| ServerReflectionRequest { host: String::new(), message_request: Some(request) });
        let codec: ProstCodec<ServerReflectionRequest, ServerReflectionResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static(self.path);
        let response = self.grpc.streaming(Request::new(stream::iter(requests)), path, codec).await?;
        let responses: Vec<_> = response.into_inner().take(count).collect().await;
        responses
            .into_iter()
            .map(|response| match response?.message_response {
                Some(MessageResponse::ErrorResponse(error)) => {
                    Err(Status::new(Code::from_i32(error.error_code), error.error_message))
                }
                Some(response) => Ok(response),
                None => Err(Status::data_loss("an empty response")),
            })
            .collect()
    }
}

fn encoded_files(response: MessageResponse) -> Vec<Vec<u8>> {
    if let MessageResponse::FileDescriptorResponse(files) = response { files.file_descriptor_proto } else { Vec::new() }
}

fn missing(files: &BTreeMap<String, ReflectedFile>) -> BTreeSet<String> {
    let imports = files.values().flat_map(|file| &file.decoded.dependency);
    imports.filter(|name| !files.contains_key(*name)).cloned().collect()
}

/// Sorts the files: imports before the files that import them.
fn sorted(mut files: BTreeMap<String, ReflectedFile>) -> Vec<ReflectedFile> {
    let mut sorted = Vec::new();
    while !files.is_empty() {
        let free = |file: &ReflectedFile| file.decoded.dependency.iter().all(|d| !files.contains_key(d));
        // Files that import each other are not a valid set; the reader of the set refuses it.
        let next = files.iter().find(|(_, file)| free(file)).or(files.iter().next()).map(|(name, _)| name.clone());
        sorted.extend(next.and_then(|name| files.remove(&name)));
    }
    sorted
}
