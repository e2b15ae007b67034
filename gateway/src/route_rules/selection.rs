//! The methods that a rule applies to.

use crate::{
    config::INTROSPECTION,
    rate_limit::{DeclaredMethods, KnownMethods, covers, undeclared},
};

/// See the module.
pub(super) struct Selection {
    /// The key of the list.
    key: String,
    methods: Vec<String>,
}

impl Selection {
    /// The methods that the list under `key` names. A method that clients cannot call is an error.
    pub(super) fn new(key: String, methods: &[String], known: KnownMethods<'_>) -> Result<Self, String> {
        known.check_names(methods).map_err(|error| format!("{key}: {error}"))?;
        Ok(Self { key, methods: methods.to_vec() })
    }

    /// The first method that the gateway serves itself.
    pub(super) fn introspection(&self) -> Option<&str> {
        let is_own = |method: &&String| INTROSPECTION.iter().any(|own| covers(method, own) || covers(own, method));
        self.methods.iter().find(is_own).map(String::as_str)
    }

    /// The methods that the descriptors of their upstreams do not declare. Each message names the key.
    pub(super) fn undeclared(&self, declared: &DeclaredMethods<'_>) -> Vec<String> {
        undeclared(&self.key, &self.methods, declared)
    }

    /// Whether it covers a method.
    pub(super) fn covers(&self, scope: &str) -> bool {
        self.rank(scope).is_some()
    }

    /// How specific the selection is for a method: the length of the name that covers it. `None`: it does not cover the
    /// method. An empty list covers all methods but those that the gateway serves itself.
    pub(super) fn rank(&self, scope: &str) -> Option<usize> {
        if self.methods.is_empty() {
            return (!INTROSPECTION.iter().any(|own| covers(own, scope))).then_some(0);
        }
        self.methods.iter().filter(|method| covers(method, scope)).map(String::len).max()
    }
}
