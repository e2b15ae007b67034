//! The rules that a contract must keep to build at all.

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage, Value};

const POLICY: &str = "trellis.policy.v1.method";
const HTTP: &str = "google.api.http";

/// Every method says who may call it, and an internal one has no HTTP form. The error names each offender.
pub(crate) fn verify(pool: &DescriptorPool) -> Result<(), String> {
    let mut findings = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        findings.extend(finding(pool, &method)?);
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("the contract is refused:\n{}", findings.join("\n"))) }
}

fn finding(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Option<String>, String> {
    let name = method.full_name();
    let Some(policy) = option(pool, method, POLICY)? else {
        return Ok(Some(format!("  {name} has no ({POLICY}) option: say who may call it")));
    };
    let Some(rule) = rule(&policy) else {
        return Ok(Some(format!("  {name} has a policy without `access`: say public, signed_in or internal")));
    };
    let has_http = option(pool, method, HTTP)?.is_some();
    Ok(match (rule.descriptor().name(), has_http) {
        ("Internal", true) => Some(format!("  {name} is internal and has a ({HTTP}) form: take one of the two away")),
        ("Internal", false) if callers(&rule) == 0 => {
            Some(format!("  {name} is internal and names no caller: list the services that may call it"))
        }
        ("Public" | "SignedIn", false) => {
            Some(format!("  {name} has no ({HTTP}) option: give it an HTTP form, or make it internal"))
        }
        _ => None,
    })
}

fn option(pool: &DescriptorPool, method: &MethodDescriptor, name: &str) -> Result<Option<DynamicMessage>, String> {
    let extension = pool.get_extension_by_name(name).ok_or(format!("no extension {name} in the contracts"))?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return Ok(None);
    }
    Ok(options.get_extension(&extension).as_message().cloned())
}

fn rule(policy: &DynamicMessage) -> Option<DynamicMessage> {
    let access = policy.get_field_by_name("access")?.as_message()?.clone();
    let (_, value) = access.fields().next()?;
    value.as_message().cloned()
}

fn callers(rule: &DynamicMessage) -> usize {
    rule.get_field_by_name("callers").as_deref().and_then(Value::as_list).map_or(0, <[Value]>::len)
}
