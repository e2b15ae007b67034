//! The policy of a method: `trellis.policy.v1.method`.

use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MethodDescriptor, ReflectMessage as _};
use serde_json::{Map, Value};

use super::super::options;

/// The extension with the policy of a method.
const POLICY: &str = "trellis.policy.v1.method";

/// The policy of a method, if its contract has one.
pub(super) fn of(method: &MethodDescriptor) -> Option<DynamicMessage> {
    options::extension(&method.options(), POLICY)
}

/// Whether a call needs a user; `None`: the contract does not say.
pub(super) fn needs_user(policy: &DynamicMessage) -> Option<bool> {
    let access = options::message(policy, "access")?;
    Some(options::message(&access, "public").is_none())
}

/// The scopes that the access token needs: the permissions of the policy.
pub(super) fn scopes(policy: &DynamicMessage) -> Vec<Value> {
    permissions(policy).map_or_else(Vec::new, |(names, numbers)| {
        let named = numbers.into_iter().filter_map(|number| names.get_value(number));
        let scope = |name: &str| name.trim_start_matches("PERMISSION_").to_ascii_lowercase().replace('_', ".");
        named.map(|value| scope(value.name()).into()).collect()
    })
}

/// The roles of which an account needs one: those that grant all permissions of the policy.
pub(super) fn roles(policy: &DynamicMessage) -> Option<Value> {
    let (names, needed) = permissions(policy)?;
    let roles = names.parent_pool().get_enum_by_name("trellis.policy.v1.Role")?;
    let granting = roles.values().filter(|role| {
        let option = options::extension(&role.options(), "trellis.policy.v1.role");
        let granted =
            option.and_then(|option| Some(numbers(&options::set(&option, "permissions")?))).unwrap_or_default();
        needed.iter().all(|permission| granted.contains(permission))
    });
    let name = |name: &str| Value::from(name.trim_start_matches("ROLE_").to_ascii_lowercase());
    Some(granting.map(|role| name(role.name())).collect())
}

/// The maximum age, in seconds, of the proof of who the user is.
pub(super) fn step_up(policy: &DynamicMessage) -> Option<Value> {
    let step_up = options::message(policy, "step_up")?;
    options::number(&options::message(&step_up, "max_age")?, "seconds").map(Value::from)
}

/// The permissions of the policy and their names; `None`: there are none.
fn permissions(policy: &DynamicMessage) -> Option<(EnumDescriptor, Vec<i32>)> {
    let signed_in = options::message(&options::message(policy, "access")?, "signed_in")?;
    let needed = numbers(&options::set(&signed_in, "permissions")?);
    let Kind::Enum(names) = signed_in.descriptor().get_field_by_name("permissions")?.kind() else { return None };
    Some((names, needed))
}

fn numbers(list: &prost_reflect::Value) -> Vec<i32> {
    list.as_list().unwrap_or_default().iter().filter_map(prost_reflect::Value::as_enum_number).collect()
}

/// The rate limits, if there are any.
pub(super) fn rate_limits(policy: &DynamicMessage) -> Option<Value> {
    let limits = options::set(policy, "rate_limit")?;
    let limits: Vec<_> = limits.as_list()?.iter().filter_map(|limit| limit.as_message().map(rate_limit)).collect();
    (!limits.is_empty()).then(|| limits.into())
}

/// `{"streams": 64}`, the limit on open streams.
pub(super) fn stream_limit(policy: &DynamicMessage) -> Option<Value> {
    let limit = options::message(policy, "stream_limit")?;
    let mut shown = Map::new();
    if let Some(streams) = options::number(&limit, "streams") {
        shown.insert("streams".into(), streams.into());
    }
    if let Some(name) = enum_name(&limit, "key") {
        shown.insert("key".into(), name.into());
    }
    Some(shown.into())
}

/// The deadline in seconds.
pub(super) fn deadline(policy: &DynamicMessage) -> Option<Value> {
    options::number(&options::message(policy, "deadline")?, "seconds").map(Value::from)
}

/// `{"requests": 60, "periodSeconds": 60}`, and the other fields that are set.
fn rate_limit(limit: &DynamicMessage) -> Value {
    let mut shown = Map::new();
    for field in ["requests", "burst", "cost"] {
        if let Some(number) = options::number(limit, field) {
            shown.insert(field.into(), number.into());
        }
    }
    if let Some(seconds) = options::message(limit, "period").and_then(|period| options::number(&period, "seconds")) {
        shown.insert("periodSeconds".into(), seconds.into());
    }
    for field in ["key", "kind"] {
        if let Some(name) = enum_name(limit, field) {
            shown.insert(field.into(), name.into());
        }
    }
    if let Some(header) = options::text(limit, "header") {
        shown.insert("header".into(), header.into());
    }
    shown.into()
}

/// The name of an enum value, unless it is the default.
fn enum_name(message: &DynamicMessage, field: &str) -> Option<String> {
    let number = options::set(message, field)?.as_enum_number()?;
    let Kind::Enum(of) = message.descriptor().get_field_by_name(field)?.kind() else {
        return None;
    };
    of.get_value(number).map(|value| value.name().to_owned())
}
