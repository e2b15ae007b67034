//! The proxy structured-proxy, which converts JSON over HTTP to gRPC, with its default settings.

use std::{fs, path::Path, process::Command};

/// The command that starts it. Writes its configuration into `folder`.
pub(super) fn command(
    binary: &Path,
    folder: &Path,
    descriptors: &Path,
    port: u16,
    upstream: u16,
) -> Result<Command, String> {
    let file = folder.join("structured-proxy.yaml");
    let config = format!(
        "listen:\n  http: \"127.0.0.1:{port}\"\n\
         upstream:\n  default: \"http://127.0.0.1:{upstream}\"\n\
         descriptors:\n  - file: \"{}\"\n\
         service:\n  name: \"bench\"\n",
        descriptors.display()
    );
    fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(file).env("RUST_LOG", "error");
    Ok(command)
}
