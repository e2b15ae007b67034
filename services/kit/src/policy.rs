//! The contract's policies, read from a descriptor set: what the gateway and the services enforce.

mod rate;

use std::{collections::HashMap, time::Duration};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message as _};
use prost_types::{MethodDescriptorProto, MethodOptions, method_options::IdempotencyLevel};
use proto::policy::v1::{self as wire, access::Rule};

use crate::limiter::Away;

pub use rate::{By, RateLimit, StreamLimit};

/// The option that carries a policy.
const OPTION: &str = "trellis.policy.v1.method";

/// The policies of all methods of a descriptor set, by path (`/package.Service/Method`).
#[derive(Debug, Default, Clone)]
pub struct Table {
    methods: HashMap<String, Policy>,
}

/// What the mesh knows of a method.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Who may call.
    pub access: Access,
    /// How often; none: the gateway's default.
    pub rate_limits: Vec<RateLimit>,
    /// How many streams at once.
    pub stream_limit: Option<StreamLimit>,
    /// What becomes of calls while limits cannot be counted together.
    pub away: Away,
    /// Default and ceiling of a call's time; `None` on a stream: until its token ends.
    pub deadline: Option<Duration>,
    /// The gateway hands the cookie up.
    pub reads_session_cookie: bool,
    /// What goes first when there is too much to do.
    pub priority: Priority,
    /// The method answers with a stream, or takes one.
    pub streams: bool,
    /// A repeat does no harm.
    pub idempotent: bool,
}

/// Who may call a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// A user.
    SignedIn,
    /// One of these services.
    Internal {
        /// Their names.
        callers: Vec<String>,
    },
}

/// How much a call matters when not all can be worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// It can wait.
    Low,
    /// As most.
    #[default]
    Normal,
    /// It keeps people safe and signed in.
    High,
}

impl Priority {
    /// How many of a hundred places calls of this kind may take together with what matters more.
    pub(crate) fn percent(self) -> usize {
        match self {
            Self::Low => 70,
            Self::Normal => 90,
            // A tenth is theirs alone.
            Self::High => 100,
        }
    }

    /// What people and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// Why a descriptor set is no source of policies.
#[derive(Debug)]
pub struct Unreadable(String);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the descriptor set cannot be read: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

impl Table {
    /// Reads the policies of an encoded `google.protobuf.FileDescriptorSet`. Methods without one are left
    /// out, and so are reachable by nobody.
    pub fn from_descriptors(encoded: &[u8]) -> Result<Self, Unreadable> {
        let pool = DescriptorPool::decode(encoded).map_err(|e| Unreadable(e.to_string()))?;
        let mut methods = HashMap::new();
        for method in pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()) {
            if let Some(policy) = read(&pool, &method)? {
                methods.insert(format!("/{}/{}", method.parent_service().full_name(), method.name()), policy);
            }
        }
        Ok(Self { methods })
    }

    /// The policy of the method at `path`.
    pub fn get(&self, path: &str) -> Option<&Policy> {
        self.methods.get(path)
    }

    /// The shortest deadline of a unary method; those that state none have `default`.
    pub fn shortest_deadline(&self, default: Duration) -> Duration {
        let unary = self.methods.values().filter(|policy| !policy.streams);
        unary.map(|policy| policy.deadline.unwrap_or(default)).min().unwrap_or(default)
    }

    /// All paths with their policies, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.methods.iter().map(|(path, policy)| (path.as_str(), policy))
    }
}

fn read(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Option<Policy>, Unreadable> {
    let Some(extension) = pool.get_extension_by_name(OPTION) else { return Ok(None) };
    let options = method.options();
    if !options.has_extension(&extension) {
        return Ok(None);
    }
    let bad = |what: &str| Unreadable(format!("{}: {what}", method.full_name()));
    let value = options.get_extension(&extension);
    let dynamic: &DynamicMessage = value.as_message().ok_or_else(|| bad("the policy is no message"))?;
    let policy = wire::Policy::decode(dynamic.encode_to_vec().as_slice()).map_err(|e| bad(&e.to_string()))?;
    let access = policy.access.as_ref().and_then(|a| a.rule.clone()).ok_or_else(|| bad("no access rule"))?;
    Ok(Some(Policy {
        access: access.into(),
        rate_limits: policy.rate_limit.iter().map(RateLimit::from).collect(),
        stream_limit: policy.stream_limit.as_ref().map(StreamLimit::from),
        away: policy.limiter_away().into(),
        deadline: policy.deadline.as_ref().map(span),
        reads_session_cookie: policy.reads_session_cookie,
        priority: policy.priority().into(),
        streams: method.is_client_streaming() || method.is_server_streaming(),
        idempotent: is_idempotent(method.method_descriptor_proto()),
    }))
}

/// Whether the contract says that a repeat does no harm (`idempotency_level`).
pub(crate) fn is_idempotent(method: &MethodDescriptorProto) -> bool {
    let level = method.options.as_ref().map(MethodOptions::idempotency_level);
    matches!(level, Some(IdempotencyLevel::NoSideEffects | IdempotencyLevel::Idempotent))
}

fn span(duration: &prost_types::Duration) -> Duration {
    Duration::try_from(*duration).unwrap_or_default()
}

impl From<Rule> for Access {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Public(_) => Self::Public,
            Rule::SignedIn(_) => Self::SignedIn,
            Rule::Internal(i) => Self::Internal { callers: i.callers },
        }
    }
}

impl From<wire::Priority> for Priority {
    fn from(priority: wire::Priority) -> Self {
        match priority {
            wire::Priority::Unspecified => Self::Normal,
            wire::Priority::Low => Self::Low,
            wire::Priority::High => Self::High,
        }
    }
}

#[cfg(test)]
mod tests;
