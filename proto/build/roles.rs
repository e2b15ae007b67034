//! Checks the permissions that methods need, the roles that grant them, and how recent a proof must be.

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _, Value};

const ROLE: &str = "trellis.policy.v1.Role";
const OPTION: &str = "trellis.policy.v1.role";
const PERMISSION: &str = "trellis.policy.v1.Permission";
/// The bounds of `StepUp.max_age`, in seconds: below a second no client can repeat its call in time.
const MAX_AGE: std::ops::RangeInclusive<i64> = 1..=86_400;

/// Permissions that no role grants, and roles that grant none or an unspecified one.
pub(crate) fn findings(pool: &DescriptorPool) -> Result<Vec<String>, String> {
    let missing = |name: &str| format!("no {name} in the contracts");
    let roles = pool.get_enum_by_name(ROLE).ok_or_else(|| missing(ROLE))?;
    let option = pool.get_extension_by_name(OPTION).ok_or_else(|| missing(OPTION))?;
    let permissions = pool.get_enum_by_name(PERMISSION).ok_or_else(|| missing(PERMISSION))?;
    let (mut findings, mut granted) = (Vec::new(), Vec::new());
    for role in roles.values().filter(|role| role.number() != 0) {
        let grants = role.options().get_extension(&option).as_message().map(numbers).unwrap_or_default();
        if grants.is_empty() || grants.contains(&0) {
            findings.push(format!("  {} grants no permission or PERMISSION_UNSPECIFIED: set ({OPTION})", role.name()));
        }
        granted.extend(grants);
    }
    let granted_by_none = permissions.values().filter(|of| of.number() != 0 && !granted.contains(&of.number()));
    findings.extend(granted_by_none.map(|of| format!("  {} is granted by no role, so that no user has it", of.name())));
    Ok(findings)
}

/// What the policy of a method requires without an effect.
pub(crate) fn of_method(
    method: &MethodDescriptor,
    policy: &DynamicMessage,
    rule: Option<&DynamicMessage>,
) -> Vec<String> {
    let mut findings = Vec::new();
    let is_for_users = rule.is_some_and(|rule| rule.descriptor().name() == "SignedIn");
    if is_for_users && rule.is_some_and(|rule| numbers(rule).contains(&0)) {
        findings.push("needs PERMISSION_UNSPECIFIED, which no caller has: name the permission".to_owned());
    }
    if policy.has_field_by_name("step_up") {
        if !is_for_users {
            findings.push("has a step_up and is not signed_in: only users can prove who they are".to_owned());
        }
        if !MAX_AGE.contains(&max_age(policy)) {
            findings.push("has a step_up whose max_age is not between a second and a day".to_owned());
        }
    }
    findings.into_iter().map(|finding| format!("  {} {finding}", method.full_name())).collect()
}

/// The numbers in the field `permissions`.
fn numbers(of: &DynamicMessage) -> Vec<i32> {
    let list = of.get_field_by_name("permissions");
    list.as_deref().and_then(Value::as_list).unwrap_or_default().iter().filter_map(Value::as_enum_number).collect()
}

fn max_age(policy: &DynamicMessage) -> i64 {
    let inner = |of: &DynamicMessage, field: &str| of.get_field_by_name(field)?.as_message().cloned();
    let age = inner(policy, "step_up").and_then(|step_up| inner(&step_up, "max_age"));
    age.and_then(|age| age.get_field_by_name("seconds")?.as_i64()).unwrap_or(0)
}
