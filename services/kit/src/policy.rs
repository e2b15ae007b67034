//! The contract's policies, read from a descriptor set. The gateway and the services enforce them.

mod rate;
mod roles;

use std::{collections::HashMap, time::Duration};

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message as _};
use prost_types::{MethodOptions, method_options::IdempotencyLevel};
use proto::policy::v1::{self as wire, access::Rule};

use crate::limiter::FailureMode;

pub use rate::{By, RateLimit, StreamLimit};
pub use roles::{ADMIN, NeededPermission, Roles};

/// The option that carries a policy.
const OPTION: &str = "trellis.policy.v1.method";

/// The policies of all methods of a descriptor set, by path (`/package.Service/Method`).
#[derive(Debug, Default, Clone)]
pub struct Table {
    methods: HashMap<String, Policy>,
    /// The roles, and what they grant.
    roles: Roles,
    /// The descriptors, of methods without a policy too.
    pool: DescriptorPool,
}

/// The policy of a method.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The callers that may call the method.
    pub access: Access,
    /// How old the proof of who the user is may be; `None`: as old as the session.
    pub step_up: Option<Duration>,
    /// The rate limits; if empty, the gateway's default applies.
    pub rate_limits: Vec<RateLimit>,
    /// How many streams may be open at once.
    pub stream_limit: Option<StreamLimit>,
    /// The failure mode of the rate limiter.
    pub failure_mode: FailureMode,
    /// The default and maximum of a call's time; `None` for a stream: until its token expires.
    pub deadline: Option<Duration>,
    /// Whether the gateway passes the session cookie to the service.
    pub reads_session_cookie: bool,
    /// The priority during overload.
    pub priority: Priority,
    /// Whether a successful call writes an audit record.
    pub audit: bool,
    /// Whether the method's requests or responses are streams.
    pub streams: bool,
    /// Whether a repeated call does no harm.
    pub idempotent: bool,
}

/// The callers that may call a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// All callers.
    Public,
    /// A user.
    SignedIn {
        /// The permissions that the user needs, all of them.
        permissions: Vec<NeededPermission>,
    },
    /// One of these services.
    Internal {
        /// The names of the services.
        callers: Vec<String>,
    },
}

impl Access {
    /// Every user.
    pub const SIGNED_IN: Self = Self::SignedIn { permissions: Vec::new() };

    fn new(rule: Rule, roles: &Roles) -> Self {
        match rule {
            Rule::Public(_) => Self::Public,
            Rule::SignedIn(of) => {
                // Not `of.permissions()`, which leaves out numbers that this process does not know.
                Self::SignedIn { permissions: of.permissions.iter().map(|needed| roles.needed(*needed)).collect() }
            }
            Rule::Internal(of) => Self::Internal { callers: of.callers },
        }
    }

    /// Whether only users may call.
    pub fn is_for_users(&self) -> bool {
        matches!(self, Self::SignedIn { .. })
    }
}

/// The importance of a call during overload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// The call can wait.
    Low,
    /// Most calls.
    #[default]
    Normal,
    /// Calls that keep users safe and signed in.
    High,
}

impl Priority {
    /// The percentage of the limit that calls of this priority may use, together with those of higher priority.
    pub(crate) fn percent(self) -> usize {
        match self {
            Self::Low => 70,
            Self::Normal => 90,
            // A tenth of the limit is reserved for this priority.
            Self::High => 100,
        }
    }

    /// The name in texts and metrics labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// Why a descriptor set could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the descriptor set cannot be read: {0}")]
pub struct Unreadable(String);

impl Table {
    /// Reads the policies of an encoded `google.protobuf.FileDescriptorSet`. A method without a policy is left out, so
    /// no client can reach it.
    pub fn from_descriptors(encoded: &[u8]) -> Result<Self, Unreadable> {
        let pool = DescriptorPool::decode(encoded).map_err(|e| Unreadable(e.to_string()))?;
        let roles = Roles::of(&pool);
        let mut methods = HashMap::new();
        for method in methods_of(&pool) {
            if let Some(policy) = read(&pool, &roles, &method)? {
                methods.insert(path_of(&method), policy);
            }
        }
        Ok(Self { methods, roles, pool })
    }

    /// The roles, and what they grant.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The descriptors.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// The policy of the method at `path`.
    pub fn get(&self, path: &str) -> Option<&Policy> {
        self.methods.get(path)
    }

    /// The descriptor of the method at `path`, with or without a policy.
    pub fn descriptor(&self, path: &str) -> Option<MethodDescriptor> {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        self.pool.get_service_by_name(service)?.methods().find(|method| method.name() == name)
    }

    /// The descriptors of all methods, with or without a policy, with their paths.
    pub fn descriptors(&self) -> impl Iterator<Item = (String, MethodDescriptor)> {
        methods_of(&self.pool).map(|method| (path_of(&method), method))
    }

    /// The shortest deadline of all unary methods. `default` applies to methods without one.
    pub fn shortest_deadline(&self, default: Duration) -> Duration {
        let unary = self.methods.values().filter(|policy| !policy.streams);
        unary.map(|policy| policy.deadline.unwrap_or(default)).min().unwrap_or(default)
    }

    /// All paths with their policies, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.methods.iter().map(|(path, policy)| (path.as_str(), policy))
    }
}

fn methods_of(pool: &DescriptorPool) -> impl Iterator<Item = MethodDescriptor> {
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// The path of a method in gRPC: `/package.Service/Method`.
pub fn path_of(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn read(pool: &DescriptorPool, roles: &Roles, method: &MethodDescriptor) -> Result<Option<Policy>, Unreadable> {
    let Some(extension) = pool.get_extension_by_name(OPTION) else { return Ok(None) };
    let options = method.options();
    if !options.has_extension(&extension) {
        return Ok(None);
    }
    let bad = |what: &str| Unreadable(format!("{}: {what}", method.full_name()));
    let value = options.get_extension(&extension);
    let dynamic: &DynamicMessage = value.as_message().ok_or_else(|| bad("the policy is not a message"))?;
    let policy = wire::Policy::decode(dynamic.encode_to_vec().as_slice()).map_err(|e| bad(&e.to_string()))?;
    let access = policy.access.as_ref().and_then(|a| a.rule.clone()).ok_or_else(|| bad("no access rule"))?;
    Ok(Some(Policy {
        access: Access::new(access, roles),
        step_up: policy.step_up.as_ref().map(|step_up| step_up.max_age.as_ref().map(span).unwrap_or_default()),
        rate_limits: policy.rate_limit.iter().map(RateLimit::from).collect(),
        stream_limit: policy.stream_limit.as_ref().map(StreamLimit::from),
        failure_mode: policy.limiter_failure_mode().into(),
        deadline: policy.deadline.as_ref().map(span),
        reads_session_cookie: policy.reads_session_cookie,
        priority: policy.priority().into(),
        audit: policy.audit,
        streams: method.is_client_streaming() || method.is_server_streaming(),
        idempotent: is_idempotent(method),
    }))
}

/// Whether the contract declares the method idempotent (`idempotency_level`).
pub fn is_idempotent(method: &MethodDescriptor) -> bool {
    let level = method.method_descriptor_proto().options.as_ref().map(MethodOptions::idempotency_level);
    matches!(level, Some(IdempotencyLevel::NoSideEffects | IdempotencyLevel::Idempotent))
}

/// Whether the contract declares that the method changes nothing (`idempotency_level = NO_SIDE_EFFECTS`).
pub fn has_no_side_effects(method: &MethodDescriptor) -> bool {
    let level = method.method_descriptor_proto().options.as_ref().map(MethodOptions::idempotency_level);
    level == Some(IdempotencyLevel::NoSideEffects)
}

fn span(duration: &prost_types::Duration) -> Duration {
    Duration::try_from(*duration).unwrap_or_default()
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
