//! Checks the rules that every contract must keep.

#[path = "enforced.rs"]
mod enforced;
#[path = "limits.rs"]
mod limits;
#[path = "references.rs"]
mod references;
#[path = "roles.rs"]
mod roles;

use std::collections::HashSet;

use super::redact;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage, Value,
};

const POLICY: &str = "trellis.policy.v1.method";
const HTTP: &str = "google.api.http";
const RULES: &str = "buf.validate.field";

/// Checks that every method has an access rule, that internal methods have no HTTP form, that every request field is
/// bounded, that references have an effect, and that code enforces every policy field. The error lists all violations.
pub(crate) fn verify(pool: &DescriptorPool) -> Result<(), String> {
    let mut findings = enforced::findings(pool);
    findings.extend(redact::findings(pool));
    findings.extend(pool.all_messages().flat_map(|message| references::findings(pool, &message)));
    findings.extend(roles::findings(pool)?);
    let mut seen = HashSet::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        findings.extend(finding(pool, &method)?);
        if let Some(policy) = option(pool, &method, POLICY)? {
            let is_internal = rule(&policy).is_some_and(|rule| rule.descriptor().name() == "Internal");
            findings.extend(limits::findings(&method, &policy, is_internal));
            findings.extend(roles::of_method(&method, &policy, rule(&policy).as_ref()));
        }
        unbounded(pool, &method.input(), &mut seen, &mut findings)?;
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("the contract breaks these rules:\n{}", findings.join("\n"))) }
}

fn finding(pool: &DescriptorPool, method: &MethodDescriptor) -> Result<Option<String>, String> {
    let name = method.full_name();
    let Some(policy) = option(pool, method, POLICY)? else {
        return Ok(Some(format!("  {name} has no ({POLICY}) option: add one with its `access`")));
    };
    let Some(rule) = rule(&policy) else {
        return Ok(Some(format!("  {name} has a policy without `access`: set public, signed_in or internal")));
    };
    let has_http = option(pool, method, HTTP)?.is_some();
    Ok(match (rule.descriptor().name(), has_http) {
        ("Internal", true) => Some(format!(
            "  {name} is internal and has a ({HTTP}) form: remove the form, or make the method public or signed_in"
        )),
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

/// Finds unbounded fields of a request and of Trellis messages in it. A boolean needs no bound; messages of other
/// packages (field masks, timestamps) have their own.
fn unbounded(
    pool: &DescriptorPool,
    message: &MessageDescriptor,
    seen: &mut HashSet<String>,
    findings: &mut Vec<String>,
) -> Result<(), String> {
    if !message.full_name().starts_with("trellis.") || !seen.insert(message.full_name().to_owned()) {
        return Ok(());
    }
    for field in message.fields() {
        let missing = match (field.is_list(), field.kind()) {
            (true, _) if !has_rule(pool, &field, "repeated", &["max_items"])? => Some("repeated.max_items"),
            (_, Kind::Message(inner)) => {
                unbounded(pool, &inner, seen, findings)?;
                None
            }
            (true, _) | (_, Kind::Bool) => None,
            (_, Kind::String) => {
                let bounds = ["max_len", "max_bytes", "len", "uuid", "pattern"];
                (!has_rule(pool, &field, "string", &bounds)?).then_some("string.max_len")
            }
            (_, Kind::Bytes) => (!has_rule(pool, &field, "bytes", &["max_len", "len"])?).then_some("bytes.max_len"),
            (_, Kind::Enum(_)) => (!has_rule(pool, &field, "enum", &["defined_only"])?).then_some("enum.defined_only"),
            (_, _) => (!has_any_rule(pool, &field)?).then_some("a range"),
        };
        if let Some(rule) = missing {
            findings.push(format!("  {} is unbounded: add ({RULES}).{rule}", field.full_name()));
        }
    }
    Ok(())
}

fn field_rules(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<Option<DynamicMessage>, String> {
    let extension = pool.get_extension_by_name(RULES).ok_or(format!("no extension {RULES} in the contracts"))?;
    let options = field.options();
    if !options.has_extension(&extension) {
        return Ok(None);
    }
    Ok(options.get_extension(&extension).as_message().cloned())
}

fn has_any_rule(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<bool, String> {
    Ok(field_rules(pool, field)?.is_some_and(|rules| rules.fields().next().is_some()))
}

fn has_rule(pool: &DescriptorPool, field: &FieldDescriptor, kind: &str, names: &[&str]) -> Result<bool, String> {
    let Some(rules) = field_rules(pool, field)? else { return Ok(false) };
    let found = rules.fields().any(|(of, value)| {
        of.name() == kind
            && value.as_message().is_some_and(|inner| inner.fields().any(|(rule, _)| names.contains(&rule.name())))
    });
    Ok(found)
}
