//! Compiles the contracts of tests.

use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

/// Compiles the text of a file. It may import those of `proto/third_party`.
pub(crate) fn compile(source: &str) -> DescriptorPool {
    DescriptorPool::decode(encoded(source).as_slice()).unwrap()
}

/// The encoded descriptor set of the text of a file, with its comments.
pub(crate) fn encoded(source: &str) -> Vec<u8> {
    let mut files = ChainFileResolver::new();
    files.add(Source(source.to_owned()));
    files.add(IncludeFileResolver::new("../proto/third_party".into()));
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("t.proto").unwrap_or_else(|e| panic!("{e:?}"));
    compiler.encode_file_descriptor_set()
}

struct Source(String);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "t.proto" => File::from_source(name, &self.0),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}
