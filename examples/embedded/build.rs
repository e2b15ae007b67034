//! Compiles the contract, without protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto", "../../proto/third_party"])?;
    compiler.include_imports(true).include_source_info(true).open_files(["greeter.proto"])?;
    // With the custom options, from which the gateway learns the HTTP forms.
    let encoded = compiler.encode_file_descriptor_set();
    #[expect(clippy::disallowed_methods, reason = "cargo sets OUT_DIR for build scripts")]
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), &encoded)?;
    tonic_prost_build::configure().compile_fds(FileDescriptorSet::decode(encoded.as_slice())?)?;
    Ok(())
}
