//! The scopes that callers of methods need.

use std::{collections::BTreeMap, sync::Arc};

use kit::{config::quoted, error, principal::Principal};
use tonic::{Code, Status};

use super::selection::Selection;
use crate::{config::RequiredScopesConfig, rate_limit::KnownMethods, reason};

/// The section of the configuration.
const KEY: &str = "gateway.required_scopes";

/// The scopes of some methods.
pub(super) struct ScopeRule {
    name: String,
    pub(super) selection: Selection,
    scopes: Vec<String>,
}

/// The scopes that a method needs, each with the name of its rule.
pub(super) type RequiredScopes = Arc<[(String, String)]>;

/// Reads the sections. Errors name the key.
pub(super) fn read(
    config: &BTreeMap<String, RequiredScopesConfig>,
    known: KnownMethods<'_>,
) -> Result<Vec<ScopeRule>, String> {
    let one = |(name, of): (&String, &RequiredScopesConfig)| {
        let key = format!("{KEY}.{}", quoted(name));
        if of.methods.is_empty() {
            return Err(format!("{key}.methods: is empty, so that the section has no effect"));
        }
        let is_scope = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if of.scopes.is_empty() || !of.scopes.iter().all(is_scope) {
            return Err(format!("{key}.scopes: name scopes without blanks, such as shop:write"));
        }
        let selection = Selection::new(format!("{key}.methods"), &of.methods, known)?;
        match selection.introspection() {
            Some(own) => Err(format!("{key}.methods: {own:?} is served by the gateway itself and is public")),
            None => Ok(ScopeRule { name: name.clone(), selection, scopes: of.scopes.clone() }),
        }
    };
    config.iter().map(one).collect()
}

/// The scopes of a method: those of all rules that cover it.
pub(super) fn of(rules: &[ScopeRule], scope: &str) -> RequiredScopes {
    let covering = rules.iter().filter(|rule| rule.selection.covers(scope));
    covering.flat_map(|rule| rule.scopes.iter().map(|needed| (needed.clone(), rule.name.clone()))).collect()
}

/// Refuses a principal without one of the scopes.
pub(super) fn check(required: &RequiredScopes, principal: &Principal) -> Result<(), Status> {
    let missing = required.iter().find(|(needed, _)| !principal.scopes().contains(needed));
    missing.map_or(Ok(()), |(needed, _)| {
        let message = format!("the access token does not have the scope {needed:?}, which this method requires");
        Err(error::status(Code::PermissionDenied, reason::SCOPE_REQUIRED, message))
    })
}

/// The rows of `trellis policy`.
pub(super) fn rows(required: &RequiredScopes) -> impl Iterator<Item = [String; 3]> {
    required
        .iter()
        .map(|(needed, name)| ["access".to_owned(), format!("scope {needed}"), format!("{KEY}.{}", quoted(name))])
}
