//! Compiles the contracts of tests.

use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

const HTTP_BODY: &str = r#"syntax = "proto3"; package google.api; import "google/protobuf/any.proto";
    message HttpBody { string content_type = 1; bytes data = 2; repeated google.protobuf.Any extensions = 3; }"#;

/// Compiles the text of a file. It may import those of `proto/third_party` and `google/api/httpbody.proto`.
pub(crate) fn compile(source: &str) -> DescriptorPool {
    let mut files = ChainFileResolver::new();
    files.add(Source(source.to_owned()));
    files.add(IncludeFileResolver::new("../proto/third_party".into()));
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).open_file("t.proto").unwrap_or_else(|e| panic!("{e:?}"));
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "t.proto" => File::from_source(name, &self.0),
            "google/api/httpbody.proto" => File::from_source(name, HTTP_BODY),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}
