//! Compiles the contracts of tests.

use prost_reflect::DescriptorPool;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

/// Compiles the text of a file. It may import those of `proto` and `proto/third_party`.
pub(crate) fn compile(source: &str) -> DescriptorPool {
    let mut files = ChainFileResolver::new();
    files.add(Source(source.to_owned()));
    files.add(IncludeFileResolver::new("../proto".into()));
    files.add(IncludeFileResolver::new("../proto/third_party".into()));
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file("t.proto").unwrap_or_else(|e| panic!("{e:?}"));
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
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
