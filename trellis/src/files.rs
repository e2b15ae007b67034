//! Open files: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the process may. Shells and systemd begin with 1 024, for the sake of programs that use
/// select(2); nothing here does. Says so where `connections` and their calls cannot all be served.
pub(crate) fn raise(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = if raised.is_ok() { limit.maximum } else { limit.current };
    if allowed.is_some_and(|allowed| usize::try_from(allowed).unwrap_or(usize::MAX) < connections) {
        tracing::warn!(
            allowed,
            limits.connections = connections,
            "fewer files may be open than connections are allowed"
        );
    }
}
