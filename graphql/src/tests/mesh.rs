//! The schema of the mesh.

use prost_reflect::DescriptorPool;
use transcode::Registry;

use super::{assert_golden, methods, options};
use crate::{Api, Method, Source};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).unwrap()
}

/// The gateway leaves out internal methods, which have no HTTP form.
#[test]
fn schema_of_the_mesh_is_the_committed_one() {
    let pool = pool();
    let registry = Registry::new(&pool);
    let has_form = |method: &Method| {
        let options = method.descriptor.options();
        options.extensions().any(|(extension, _)| extension.full_name() == "google.api.http")
    };
    let methods = methods(&pool, "trellis.").into_iter().filter(has_form).collect();
    let api = Api::new(&[Source { prefix: None, registry: &registry, methods }], options()).unwrap();
    assert_golden("mesh", &api.sdl());
}

/// The names of an upstream begin with its prefix: it takes no name of the mesh.
#[test]
fn names_of_external_upstreams_begin_with_the_prefix() {
    let pool = pool();
    let registry = Registry::new(&pool);
    let source = |prefix, package| Source { prefix, registry: &registry, methods: methods(&pool, package) };
    let sources = [source(None, "trellis.users."), source(Some("acme.people"), "trellis.users.")];
    let sdl = Api::new(&sources, options()).unwrap().sdl();
    for line in ["type User {", "type AcmePeopleUser {", "\tgetUser(", "\tacmePeopleGetUser("] {
        assert!(sdl.contains(line), "{line} in {sdl}");
    }
}
