//! What descriptor sets say, and what of it strangers may see.

use std::io;

use prost_reflect::prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::policy::{Access, Table};

/// The descriptor set with `services` only, and without internal methods.
pub fn public(encoded: &[u8], policies: &Table, services: &[&str]) -> io::Result<Vec<u8>> {
    let mut set = FileDescriptorSet::decode(encoded).map_err(io::Error::other)?;
    for file in &mut set.file {
        let package = file.package().to_owned();
        let full = |name: &str| format!("{package}.{name}");
        file.service.retain(|s| services.contains(&full(s.name()).as_str()));
        for declared in &mut file.service {
            let service = full(declared.name());
            declared.method.retain(|method| {
                let policy = policies.get(&format!("/{service}/{}", method.name()));
                policy.is_some_and(|p| !matches!(p.access, Access::Internal { .. }))
            });
        }
    }
    Ok(set.encode_to_vec())
}

/// The methods that a descriptor set declares, by path, and whether they stream.
pub fn methods(encoded: &[u8]) -> io::Result<Vec<(String, bool)>> {
    let set = FileDescriptorSet::decode(encoded).map_err(io::Error::other)?;
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let full = [file.package(), service.name()].into_iter().filter(|part| !part.is_empty());
            let full = full.collect::<Vec<_>>().join(".");
            methods.extend(service.method.iter().map(|method| {
                (format!("/{full}/{}", method.name()), method.client_streaming() || method.server_streaming())
            }));
        }
    }
    Ok(methods)
}

/// The services that a descriptor set declares, by full name.
pub fn services(encoded: &[u8]) -> io::Result<Vec<String>> {
    let set = FileDescriptorSet::decode(encoded).map_err(io::Error::other)?;
    let named = |file: &FileDescriptorProto| -> Vec<String> {
        file.service.iter().map(|s| format!("{}.{}", file.package(), s.name())).collect()
    };
    Ok(set.file.iter().flat_map(named).collect())
}
