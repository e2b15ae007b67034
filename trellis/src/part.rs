//! The parts of a process.

use crate::cli::Service;

/// A part that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A service with its database.
    Service(Service),
    /// The gateway.
    Gateway,
}

impl Part {
    /// All parts: the whole mesh in one process.
    pub(crate) const ALL: [Self; 4] =
        [Self::Service(Service::Users), Self::Service(Service::Auth), Self::Service(Service::Messaging), Self::Gateway];

    /// The name in the configuration and in service tokens.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service(service) => service.name(),
            Self::Gateway => "gateway",
        }
    }
}
