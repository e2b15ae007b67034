//! Lists the policy's fields, each with the module that enforces it and a test of its effect.
//!
//! The build rejects a field of `trellis.policy.v1.Policy` that the list lacks, and a line without a field; `cargo
//! xtask ci` checks that the modules and tests exist. So a contract cannot declare a policy that no code enforces.

use std::collections::{BTreeSet, HashSet};

use prost_reflect::{DescriptorPool, MessageDescriptor};

const PACKAGE: &str = "trellis.policy.v1.";

/// `Message.field` in the package `trellis.policy.v1`, the file that enforces the field, and the name of a test
/// that fails when setting the field changes nothing.
pub(crate) const ENFORCED: [(&str, &str, &str); 25] = [
    ("Policy.access", "services/kit/src/access.rs", "every_cell_of_the_access_table_is_enforced"),
    ("Policy.rate_limit", "gateway/src/rate_limit.rs", "rate_limited_calls_get_a_retry_delay"),
    ("Policy.deadline", "services/kit/src/server/stack.rs", "deadline_of_the_contract_is_the_maximum"),
    ("Policy.reads_session_cookie", "gateway/src/rpc.rs", "refresh_cookie_is_accepted_from_the_own_origin_only"),
    ("Policy.stream_limit", "gateway/src/rate_limit.rs", "contract_of_a_method_limits_its_streams"),
    ("Policy.limiter_failure_mode", "services/kit/src/limiter/redis.rs", "contract_of_a_method_sets_its_failure_mode"),
    ("Policy.priority", "services/kit/src/overload.rs", "low_priority_is_refused_first"),
    ("Policy.audit", "services/kit/src/server/stack.rs", "audited_call_without_a_record_fails"),
    ("Policy.step_up", "services/kit/src/access.rs", "step_up_needs_a_recent_proof"),
    ("StepUp.max_age", "services/kit/src/access.rs", "max_age_of_a_step_up_bounds_the_age_of_the_proof"),
    ("SignedIn.permissions", "services/kit/src/access.rs", "permissions_of_a_method_need_a_role_and_a_scope"),
    ("RoleGrants.permissions", "services/kit/src/policy/roles.rs", "role_grants_only_the_permissions_of_its_option"),
    ("Access.public", "services/kit/src/access.rs", "public_access_admits_all_callers"),
    ("Access.signed_in", "services/kit/src/access.rs", "signed_in_access_admits_only_users"),
    ("Access.internal", "services/kit/src/access.rs", "internal_access_admits_only_services"),
    ("Internal.callers", "services/kit/src/access.rs", "callers_of_an_internal_method_are_those_it_names"),
    ("RateLimit.requests", "services/kit/src/limiter.rs", "requests_of_a_rate_limit_are_counted"),
    ("RateLimit.period", "services/kit/src/limiter.rs", "period_of_a_rate_limit_is_how_long_it_takes_to_refill"),
    ("RateLimit.burst", "services/kit/src/limiter.rs", "burst_of_a_rate_limit_bounds_what_comes_at_once"),
    ("RateLimit.cost", "gateway/src/rate_limit.rs", "cost_of_a_rate_limit_is_taken_by_each_call"),
    ("RateLimit.key", "gateway/src/rate_limit.rs", "a_rule_counts_by_its_key_or_else_by_address"),
    ("RateLimit.kind", "services/kit/src/limiter.rs", "kind_of_a_rate_limit_is_how_it_counts"),
    ("RateLimit.header", "gateway/src/rate_limit.rs", "header_of_a_rate_limit_is_what_is_counted_by"),
    ("StreamLimit.streams", "gateway/src/rate_limit.rs", "streams_of_a_stream_limit_are_counted"),
    ("StreamLimit.key", "gateway/src/rate_limit.rs", "key_of_a_stream_limit_is_proved"),
];

/// The differences between the list and the policy's messages.
pub(crate) fn findings(pool: &DescriptorPool) -> Vec<String> {
    let declared = declared(pool);
    let listed: BTreeSet<String> = ENFORCED.iter().map(|(field, _, _)| (*field).to_owned()).collect();
    let unenforced = declared.difference(&listed).map(|field| {
        format!("  {PACKAGE}{field} is enforced by no code: list its module in proto/build/enforced.rs, or remove it")
    });
    let stale = listed.difference(&declared).map(|field| {
        format!("  proto/build/enforced.rs lists {field}, which is not a field of the policy: remove the line")
    });
    unenforced.chain(stale).collect()
}

/// All fields of the policy, of what roles grant, and of the messages in them.
fn declared(pool: &DescriptorPool) -> BTreeSet<String> {
    let roots = ["Policy", "RoleGrants"].map(|name| pool.get_message_by_name(&format!("{PACKAGE}{name}")));
    let mut open: Vec<MessageDescriptor> = roots.into_iter().flatten().collect();
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
