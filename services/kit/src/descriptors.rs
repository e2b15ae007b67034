//! The services of descriptor sets, and the part of them that is public.

use std::io;

use prost_reflect::prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::policy::{Access, Table};

/// The descriptor set reduced to the methods (`/package.Service/Method`) for which `shows` holds. Services without
/// methods are left out, and so are comments and positions: they are numbered by position and would describe other
/// methods, and those of hidden methods are internal.
pub fn shown(encoded: &[u8], shows: impl Fn(&str) -> bool) -> io::Result<FileDescriptorSet> {
    let mut set = FileDescriptorSet::decode(encoded).map_err(io::Error::other)?;
    for file in &mut set.file {
        let package = file.package().to_owned();
        for declared in &mut file.service {
            let service = full_name(&package, declared.name());
            declared.method.retain(|method| shows(&format!("/{service}/{}", method.name())));
        }
        file.service.retain(|declared| !declared.method.is_empty());
        file.source_code_info = None;
    }
    Ok(set)
}

/// The public part of `services`: all methods except internal ones, which external clients cannot call.
pub fn public(encoded: &[u8], policies: &Table, services: &[&str]) -> io::Result<FileDescriptorSet> {
    shown(encoded, |path| {
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
        let policy = policies.get(path).filter(|_| service.is_some_and(|service| services.contains(&service)));
        policy.is_some_and(|policy| !matches!(policy.access, Access::Internal { .. }))
    })
}

/// The services that a descriptor set declares, by full name.
pub fn services(set: &FileDescriptorSet) -> Vec<String> {
    let named = |file: &FileDescriptorProto| {
        file.service.iter().map(|s| full_name(file.package(), s.name())).collect::<Vec<_>>()
    };
    set.file.iter().flat_map(named).collect()
}

fn full_name(package: &str, name: &str) -> String {
    if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_hidden_methods_are_not_shown() {
        let whole = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        assert!(whole.file.iter().any(|file| file.source_code_info.is_some()), "the contracts have comments");
        let path = "/trellis.users.v1.UsersService/GetUser";
        let shown = shown(proto::DESCRIPTORS, |of| of == path).unwrap();
        assert_eq!(services(&shown), ["trellis.users.v1.UsersService"]);
        assert_eq!(shown.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method).count(), 1);
        assert!(shown.file.iter().all(|file| file.source_code_info.is_none()));
    }
}
