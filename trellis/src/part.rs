//! The parts of a process.

use kit::identity::GATEWAY;

use crate::services::{Service, services};

/// A part that a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A service with its database.
    Service(Service),
    /// The gateway.
    Gateway,
}

macro_rules! all {
    ($($name:ident: $Type:ident,)+) => {
        &[$(Part::Service(Service::$Type),)+ Part::Gateway]
    };
}

impl Part {
    /// All parts: the whole mesh in one process.
    pub(crate) const ALL: &[Self] = services!(all);

    /// The name in the configuration and in service tokens.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Service(service) => service.name(),
            Self::Gateway => GATEWAY,
        }
    }

    /// The part with this name. The error lists the names.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|part| part.name() == name);
        found.copied().ok_or_else(|| {
            let services: Vec<_> = Service::ALL.iter().map(|service| service.name()).collect();
            format!("expected {} or {}", services.join(", "), Self::Gateway.name())
        })
    }
}
