//! The descriptors that reflection shows: those of the mesh and of external upstreams.

use std::collections::HashMap;

use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Joins all sets into one. Reflection identifies files by name, and two upstreams may both have a `common.proto`: the
/// later of two different files of the same name is shown under its upstream's prefix. The mesh comes last, because
/// reflection uses the last declaration of a name: no upstream can declare `trellis.*`.
pub(crate) fn together<'a>(
    upstreams: impl IntoIterator<Item = (&'a str, FileDescriptorSet)>,
    mesh: FileDescriptorSet,
) -> FileDescriptorSet {
    let mut all = ShownFiles::default();
    let mesh_names: Vec<_> = mesh.file.iter().map(|file| file.name().to_owned()).collect();
    all.reserve(&mesh);
    for (prefix, set) in upstreams {
        all.add(prefix, set);
    }
    let mut set = FileDescriptorSet { file: all.list };
    // A file that an upstream shares with the mesh is listed once, in the mesh's version.
    set.file.retain(|file| !mesh_names.iter().any(|name| name == file.name()));
    set.file.extend(mesh.file);
    set
}

/// protobuf's own files differ from one version to the next. Only one version is shown: a client that loads all files
/// into one pool would refuse a symbol that two files declare.
const PROTOBUFS_OWN: &str = "google/protobuf/";

#[derive(Default)]
struct ShownFiles {
    list: Vec<FileDescriptorProto>,
    /// Files by the name under which they are shown.
    by_name: HashMap<String, FileDescriptorProto>,
}

impl ShownFiles {
    /// Reserves the names of the mesh's files.
    fn reserve(&mut self, mesh: &FileDescriptorSet) {
        self.by_name.extend(mesh.file.iter().map(|file| (file.name().to_owned(), file.clone())));
    }

    fn add(&mut self, prefix: &str, set: FileDescriptorSet) {
        // Imports come before the files that import them, so that their new names are known.
        let mut renamed: HashMap<String, String> = HashMap::new();
        for mut file in set.file {
            for import in &mut file.dependency {
                if let Some(name) = renamed.get(import) {
                    import.clone_from(name);
                }
            }
            match self.by_name.get(file.name()) {
                Some(known) if *known == file || file.name().starts_with(PROTOBUFS_OWN) => continue,
                Some(_) => {
                    let name = format!("{prefix}/{}", file.name());
                    renamed.insert(file.name().to_owned(), name.clone());
                    file.name = Some(name);
                }
                None => {}
            }
            self.by_name.insert(file.name().to_owned(), file.clone());
            self.list.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, package: &str, imports: &[&str]) -> FileDescriptorProto {
        FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(package.to_owned()),
            dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
            ..FileDescriptorProto::default()
        }
    }

    fn listed(set: &FileDescriptorSet) -> Vec<(&str, &str, Vec<&str>)> {
        let entry = |f| -> (&str, &str, Vec<&str>) {
            let file: &FileDescriptorProto = f;
            (file.name(), file.package(), file.dependency.iter().map(String::as_str).collect())
        };
        set.file.iter().map(entry).collect()
    }

    #[test]
    fn different_files_of_the_same_name_are_both_shown() {
        let any = || file("google/any.proto", "google", &[]);
        let shop = vec![any(), file("common.proto", "shop", &[]), file("s.proto", "shop", &["common.proto"])];
        let bank = vec![any(), file("common.proto", "bank", &[]), file("b.proto", "bank", &["common.proto"])];
        let mesh = FileDescriptorSet { file: vec![any(), file("users.proto", "trellis", &[])] };
        let upstreams = [("shop", shop), ("bank", bank)].map(|(name, file)| (name, FileDescriptorSet { file }));
        assert_eq!(
            listed(&together(upstreams, mesh)),
            [
                ("common.proto", "shop", vec![]),
                ("s.proto", "shop", vec!["common.proto"]),
                ("bank/common.proto", "bank", vec![]),
                ("b.proto", "bank", vec!["bank/common.proto"]),
                ("google/any.proto", "google", vec![]),
                ("users.proto", "trellis", vec![]),
            ]
        );
    }

    #[test]
    fn a_file_named_like_the_meshs_is_prefixed_and_the_mesh_is_last() {
        let theirs = FileDescriptorSet { file: vec![file("users.proto", "made.up", &[])] };
        let ours = FileDescriptorSet { file: vec![file("users.proto", "trellis", &[])] };
        let all = together([("acme", theirs)], ours);
        assert_eq!(listed(&all), [("acme/users.proto", "made.up", vec![]), ("users.proto", "trellis", vec![])]);
    }
}
