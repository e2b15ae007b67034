//! Asking an upstream for its descriptors.

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
    ServerReflectionRequest as Question, ServerReflectionResponse as Envelope,
    server_reflection_request::MessageRequest as Ask, server_reflection_response::MessageResponse as Reply,
};
use tower::service_fn;

use crate::{tls::Trust, upstream::dial};

/// The newer name, and the one that most servers still know it by. The messages are the same.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What an upstream may declare: far beyond any real one.
const MOST_FILES: usize = 4_096;
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// What an upstream declares.
pub(super) struct Reflected {
    /// The services that it answers.
    pub(super) services: BTreeSet<String>,
    /// An encoded `google.protobuf.FileDescriptorSet`, the same for the same declarations. Its files may declare more
    /// services than are answered.
    pub(super) encoded: Vec<u8>,
}

/// A `google.protobuf.FileDescriptorSet` whose files are as the upstream encoded them: decoded and encoded again they
/// would lose what they say of policies, which stands in extensions.
#[derive(prost::Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// A file, and how the upstream encoded it.
struct File {
    decoded: FileDescriptorProto,
    encoded: Vec<u8>,
}

/// The descriptors of all services at `location` for which `wanted` holds, with what they import.
pub(super) async fn fetch(
    location: &Location,
    trust: Option<&Trust>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Reflected, String> {
    let (place, trust) = (location.clone(), trust.cloned());
    let connector = service_fn(move |_| {
        let (place, trust) = (place.clone(), trust.clone());
        async move { dial(&place, trust.as_ref()).await.map(TokioIo::new) }
    });
    let asking = async {
        let channel = Endpoint::from(location.origin()).connect_with_connector(connector).await;
        let channel = channel.map_err(|e| kit::error::chain(&e))?;
        let mut upstream = Upstream::new(channel);
        let services = upstream.services().await?;
        let services: BTreeSet<String> = services.into_iter().filter(|name| wanted(name)).collect();
        let files = upstream.files(&services).await?;
        let set = Set { file: files.into_iter().map(|file| file.encoded).collect() };
        Ok(Reflected { services, encoded: set.encode_to_vec() })
    };
    timeout(TIMEOUT, asking).await.map_err(|_| format!("no descriptors within {TIMEOUT:?}"))?
}

struct Upstream {
    grpc: Grpc<Channel>,
    path: &'static str,
}

impl Upstream {
    fn new(channel: Channel) -> Self {
        Self { grpc: Grpc::new(channel).max_decoding_message_size(MOST_BYTES), path: PATHS[0] }
    }

    async fn services(&mut self) -> Result<Vec<String>, String> {
        let list = || vec![Ask::ListServices(String::new())];
        let mut told = self.ask(list()).await;
        if told.as_ref().is_err_and(|status| status.code() == Code::Unimplemented) {
            self.path = PATHS[1];
            told = self.ask(list()).await;
        }
        let told = told.map_err(|status| format!("reflection: {:?}: {}", status.code(), status.message()))?;
        Ok(told
            .into_iter()
            .filter_map(|told| if let Reply::ListServicesResponse(list) = told { Some(list.service) } else { None })
            .flatten()
            .map(|service| service.name)
            .collect())
    }

    /// The files that declare `services`, and all that they import.
    async fn files(&mut self, services: &BTreeSet<String>) -> Result<Vec<File>, String> {
        let mut files = BTreeMap::new();
        let mut questions: Vec<Ask> = services.iter().cloned().map(Ask::FileContainingSymbol).collect();
        let mut asked = BTreeSet::new();
        let mut bytes = 0;
        while !questions.is_empty() {
            let told = self.ask(questions).await;
            let told = told.map_err(|status| format!("reflection: {:?}: {}", status.code(), status.message()))?;
            for encoded in told.into_iter().flat_map(encoded_files) {
                bytes += encoded.len();
                let decoded = FileDescriptorProto::decode(encoded.as_slice()).map_err(|e| e.to_string())?;
                files.insert(decoded.name().to_owned(), File { decoded, encoded });
            }
            if files.len() > MOST_FILES || bytes > MOST_BYTES {
                return Err(format!("more than {MOST_FILES} files or {MOST_BYTES} bytes are declared"));
            }
            questions = Vec::new();
            for name in missing(&files) {
                // What was asked for once and did not come never comes.
                if !asked.insert(name.clone()) {
                    return Err(format!("{name} is imported, and cannot be had"));
                }
                questions.push(Ask::FileByFilename(name));
            }
        }
        Ok(sorted(files))
    }

    /// One stream of questions; an error reply is an error.
    async fn ask(&mut self, questions: Vec<Ask>) -> Result<Vec<Reply>, Status> {
        self.grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let count = questions.len();
        let requests = questions.into_iter().map(|ask| Question { host: String::new(), message_request: Some(ask) });
        let codec: ProstCodec<Question, Envelope> = ProstCodec::default();
        let path = PathAndQuery::from_static(self.path);
        let response = self.grpc.streaming(Request::new(stream::iter(requests)), path, codec).await?;
        let replies: Vec<_> = response.into_inner().take(count).collect().await;
        replies
            .into_iter()
            .map(|reply| match reply?.message_response {
                Some(Reply::ErrorResponse(error)) => {
                    Err(Status::new(Code::from_i32(error.error_code), error.error_message))
                }
                Some(told) => Ok(told),
                None => Err(Status::data_loss("an empty reply")),
            })
            .collect()
    }
}

fn encoded_files(told: Reply) -> Vec<Vec<u8>> {
    if let Reply::FileDescriptorResponse(files) = told { files.file_descriptor_proto } else { Vec::new() }
}

fn missing(files: &BTreeMap<String, File>) -> BTreeSet<String> {
    let imports = files.values().flat_map(|file| &file.decoded.dependency);
    imports.filter(|name| !files.contains_key(*name)).cloned().collect()
}

/// Imports before what imports them.
fn sorted(mut files: BTreeMap<String, File>) -> Vec<File> {
    let mut sorted = Vec::new();
    while !files.is_empty() {
        let free = |file: &File| file.decoded.dependency.iter().all(|d| !files.contains_key(d));
        // Files that import each other in a circle are no valid set: whoever reads it says so.
        let next = files.iter().find(|(_, file)| free(file)).or(files.iter().next()).map(|(name, _)| name.clone());
        sorted.extend(next.and_then(|name| files.remove(&name)));
    }
    sorted
}
