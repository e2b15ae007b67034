//! The one list of the policy's fields, each with the module that enforces it.
//!
//! The build rejects a field of `trellis.policy.v1.Policy` that is not listed here, and a line whose field does not
//! exist. So a contract cannot declare what no code enforces.

use std::collections::{BTreeSet, HashSet};

use prost_reflect::{DescriptorPool, MessageDescriptor};

const PACKAGE: &str = "trellis.policy.v1.";

/// `Message.field` in the package `trellis.policy.v1`, and the file that enforces the field.
pub(crate) const ENFORCED: [(&str, &str); 21] = [
    ("Policy.access", "services/kit/src/access.rs"),
    ("Policy.rate_limit", "gateway/src/allowance.rs"),
    ("Policy.deadline", "services/kit/src/server/stack.rs"),
    ("Policy.reads_session_cookie", "gateway/src/rpc.rs"),
    ("Policy.stream_limit", "gateway/src/allowance.rs"),
    ("Policy.limiter_away", "services/kit/src/limiter/redis.rs"),
    ("Policy.priority", "services/kit/src/overload.rs"),
    ("Access.public", "services/kit/src/access.rs"),
    ("Access.signed_in", "services/kit/src/access.rs"),
    ("Access.internal", "services/kit/src/access.rs"),
    ("SignedIn.reach", "trellis/tests/mesh/access.rs"),
    ("Internal.callers", "services/kit/src/access.rs"),
    ("RateLimit.requests", "services/kit/src/limiter.rs"),
    ("RateLimit.period", "services/kit/src/limiter.rs"),
    ("RateLimit.burst", "services/kit/src/limiter.rs"),
    ("RateLimit.cost", "gateway/src/allowance.rs"),
    ("RateLimit.key", "gateway/src/allowance.rs"),
    ("RateLimit.kind", "services/kit/src/limiter.rs"),
    ("RateLimit.header", "gateway/src/allowance.rs"),
    ("StreamLimit.streams", "gateway/src/allowance.rs"),
    ("StreamLimit.key", "gateway/src/allowance.rs"),
];

/// What is wrong between the list and the policy's messages.
pub(crate) fn findings(pool: &DescriptorPool) -> Vec<String> {
    let declared = declared(pool);
    let listed: BTreeSet<String> = ENFORCED.iter().map(|(field, _)| (*field).to_owned()).collect();
    let unenforced = declared.difference(&listed).map(|field| {
        format!("  {PACKAGE}{field} is enforced by no code: list its module in proto/build/enforced.rs, or remove it")
    });
    let stale = listed.difference(&declared).map(|field| {
        format!("  proto/build/enforced.rs lists {field}, which is no field of the policy: remove the line")
    });
    unenforced.chain(stale).collect()
}

/// All fields of the policy and of the messages in it.
fn declared(pool: &DescriptorPool) -> BTreeSet<String> {
    let mut open: Vec<MessageDescriptor> = pool.get_message_by_name(&format!("{PACKAGE}Policy")).into_iter().collect();
    let (mut seen, mut fields) = (HashSet::new(), BTreeSet::new());
    while let Some(message) = open.pop() {
        if !message.full_name().starts_with(PACKAGE) || !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        for field in message.fields() {
            fields.insert(format!("{}.{}", message.name(), field.name()));
            open.extend(field.kind().as_message().cloned());
        }
    }
    fields
}
