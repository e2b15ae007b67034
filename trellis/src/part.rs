//! The parts that a process may run.

use crate::cli::Service;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A service with its database.
    Service(Service),
    /// The way in.
    Gateway,
}

impl Part {
    /// All of them: the whole mesh in one process.
    pub(crate) const ALL: [Self; 4] =
        [Self::Service(Service::Users), Self::Service(Service::Auth), Self::Service(Service::Messaging), Self::Gateway];

    /// Its name in the configuration and in service tokens.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service(service) => service.name(),
            Self::Gateway => "gateway",
        }
    }
}
