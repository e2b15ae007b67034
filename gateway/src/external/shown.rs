//! What reflection shows of the mesh and of external upstreams together.

use std::collections::HashMap;

use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// One set of all. Reflection names files, and two upstreams may well both have a `common.proto`: of two different files
/// of one name the later is told under its upstream's prefix. The mesh comes last, because reflection believes the last
/// one who declares a name: no upstream explains what `trellis.*` is.
pub(crate) fn together<'a>(
    upstreams: impl IntoIterator<Item = (&'a str, FileDescriptorSet)>,
    mesh: FileDescriptorSet,
) -> FileDescriptorSet {
    let mut all = Files::default();
    let mesh_names: Vec<_> = mesh.file.iter().map(|file| file.name().to_owned()).collect();
    all.reserve(&mesh);
    for (prefix, set) in upstreams {
        all.add(prefix, set);
    }
    let mut set = FileDescriptorSet { file: all.list };
    // What an upstream had in common with the mesh stands there once, as the mesh has it.
    set.file.retain(|file| !mesh_names.iter().any(|name| name == file.name()));
    set.file.extend(mesh.file);
    set
}

/// protobuf's own files differ from one version to the next. One of them is told: whoever puts all that is shown into one
/// pool would refuse a symbol that two files declare.
const PROTOBUFS_OWN: &str = "google/protobuf/";

#[derive(Default)]
struct Files {
    list: Vec<FileDescriptorProto>,
    /// Files by the name under which they are told.
    by_name: HashMap<String, FileDescriptorProto>,
}

impl Files {
    /// The names that the mesh's files keep.
    fn reserve(&mut self, mesh: &FileDescriptorSet) {
        self.by_name.extend(mesh.file.iter().map(|file| (file.name().to_owned(), file.clone())));
    }

    fn add(&mut self, prefix: &str, set: FileDescriptorSet) {
        // Imports stand before what imports them, so that new names are known in time.
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

    fn told(set: &FileDescriptorSet) -> Vec<(&str, &str, Vec<&str>)> {
        let told = |f| -> (&str, &str, Vec<&str>) {
            let file: &FileDescriptorProto = f;
            (file.name(), file.package(), file.dependency.iter().map(String::as_str).collect())
        };
        set.file.iter().map(told).collect()
    }

    #[test]
    fn files_of_one_name_do_not_get_in_each_others_way() {
        let any = || file("google/any.proto", "google", &[]);
        let shop = vec![any(), file("common.proto", "shop", &[]), file("s.proto", "shop", &["common.proto"])];
        let bank = vec![any(), file("common.proto", "bank", &[]), file("b.proto", "bank", &["common.proto"])];
        let mesh = FileDescriptorSet { file: vec![any(), file("users.proto", "trellis", &[])] };
        let upstreams = [("shop", shop), ("bank", bank)].map(|(name, file)| (name, FileDescriptorSet { file }));
        assert_eq!(
            told(&together(upstreams, mesh)),
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
    fn what_an_upstream_calls_ours_is_told_as_its_own_and_ours_comes_last() {
        let theirs = FileDescriptorSet { file: vec![file("users.proto", "made.up", &[])] };
        let ours = FileDescriptorSet { file: vec![file("users.proto", "trellis", &[])] };
        let all = together([("acme", theirs)], ours);
        assert_eq!(told(&all), [("acme/users.proto", "made.up", vec![]), ("users.proto", "trellis", vec![])]);
    }
}
