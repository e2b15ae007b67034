//! The limit on open files. Each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit. Shells and systemd set a soft limit of 1 024 for programs that use
/// select(2); this process does not. Warns if the limit is below `connections`.
pub(crate) fn raise(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = if raised.is_ok() { limit.maximum } else { limit.current };
    if allowed.is_some_and(|allowed| usize::try_from(allowed).unwrap_or(usize::MAX) < connections) {
        tracing::warn!(
            allowed,
            limits.connections = connections,
            "the limit on open files is below limits.connections; raise the hard limit (ulimit -Hn)"
        );
    }
}
