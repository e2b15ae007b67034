//! Compiles the contracts to messages, clients, servers, input checks and the descriptor set, without protoc.
//!
//! A contract that breaks a rule (see `contract.rs`, `enforced.rs`, `redact.rs`) fails the build with an error that
//! names the method or field.

#[path = "build/checks.rs"]
mod checks;
#[path = "build/contract.rs"]
mod contract;
#[path = "build/packages.rs"]
mod packages;
#[path = "build/redact.rs"]
mod redact;

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use prost_reflect::DescriptorPool;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=trellis");
    println!("cargo:rerun-if-changed=third_party");
    println!("cargo:rerun-if-changed=build");
    #[expect(clippy::disallowed_methods, reason = "cargo sets OUT_DIR for build scripts")]
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let contracts = packages::contracts()?;
    let encoded = compile(&contracts)?;
    let pool = DescriptorPool::decode(encoded.as_slice())?;

    contract::verify(&pool)?;
    fs::write(out.join("packages.rs"), packages::generate(&pool)?)?;
    fs::write(out.join("checks.rs"), checks::generate(&pool)?)?;
    let redacted = redact::messages(&pool);
    fs::write(out.join("redact.rs"), redact::generate(&redacted)?)?;
    fs::write(out.join("descriptors.bin"), &encoded)?;
    let undebugged: Vec<_> = redacted.iter().map(|message| format!(".{}", message.full_name())).collect();
    generate_code(&encoded, &undebugged)
}

/// Encodes the descriptor set with its comments, which the generated code and OpenAPI show; reflection drops them.
/// `file_descriptor_set()` would drop custom options.
fn compile(contracts: &[String]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([".", "third_party"])?;
    compiler.include_imports(true).include_source_info(true).open_files(contracts)?;
    Ok(compiler.encode_file_descriptor_set())
}

/// Generates messages and clients with prost's codec, and servers with the codec that checks inputs. Clients must not
/// validate responses, or newer servers would break older clients. `redact.rs` generates `Debug` for `undebugged`.
fn generate_code(encoded: &[u8], undebugged: &[String]) -> Result<(), Box<dyn Error>> {
    let descriptors = prost_types::FileDescriptorSet::decode(encoded)?;
    let servers = tonic_prost_build::configure()
        .build_client(false)
        .build_server(true)
        .codec_path("crate::codec::Checked")
        .service_generator();
    let clients = tonic_prost_build::configure().build_client(true).build_server(false).service_generator();

    let mut config = prost_build::Config::new();
    config
        .bytes(["."])
        .skip_debug(undebugged)
        .service_generator(Box::new(Both { servers, clients }))
        .compile_fds(descriptors)?;
    Ok(())
}

struct Both {
    servers: Box<dyn prost_build::ServiceGenerator>,
    clients: Box<dyn prost_build::ServiceGenerator>,
}

impl prost_build::ServiceGenerator for Both {
    fn generate(&mut self, service: prost_build::Service, buf: &mut String) {
        self.servers.generate(service.clone(), buf);
        self.clients.generate(service, buf);
    }

    fn finalize(&mut self, buf: &mut String) {
        self.servers.finalize(buf);
        self.clients.finalize(buf);
    }
}

/// `trellis.auth.v1.SignUpRequest` → `crate::trellis::auth::v1::SignUpRequest`.
fn rust_path(full_name: &str) -> String {
    format!("crate::{}", full_name.replace('.', "::"))
}
