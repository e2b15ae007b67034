//! The table of all bindings.

use std::fmt;

use prost_reflect::MethodDescriptor;

use super::{
    Lookup,
    binding::Binding,
    form::HttpForm,
    request::{Detached, Found},
    router::{Refused, Router},
};
use crate::Registry;

/// The bindings of methods, found by HTTP method and path.
#[derive(Debug, Default)]
pub struct RouteTable {
    bindings: Vec<Binding>,
    router: Router,
}

/// A fault in the HTTP form of a method. `Display` names the method, the fault and the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{method}: {problem}")]
pub struct RuleError {
    /// The full name of the method.
    pub method: String,
    /// The fault and its fix.
    pub problem: String,
}

/// All faults in the HTTP forms of methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleErrors(pub Vec<RuleError>);

impl fmt::Display for RuleErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(RuleError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for RuleErrors {}

impl RouteTable {
    /// Compiles the HTTP forms of all `methods`, each with the registry of its pool. Methods without an HTTP form are
    /// left out.
    ///
    /// # Errors
    ///
    /// Lists each method whose form is invalid or conflicts with that of another one.
    pub fn build<'a>(methods: impl IntoIterator<Item = (&'a Registry, MethodDescriptor)>) -> Result<Self, RuleErrors> {
        let (mut bindings, mut errors) = (Vec::new(), Vec::new());
        for (registry, method) in methods {
            match compile(registry, &method) {
                Ok(compiled) => bindings.extend(compiled),
                Err(problem) => errors.push(RuleError { method: method.full_name().to_owned(), problem }),
            }
        }
        let routes: Vec<_> = bindings.iter().map(|binding| (binding.http_method(), binding.template())).collect();
        match Router::build(&routes) {
            Ok(router) if errors.is_empty() => Ok(Self { bindings, router }),
            Ok(_) => Err(RuleErrors(errors)),
            Err(refused) => {
                errors.extend(refusals(&bindings, &refused));
                Err(RuleErrors(errors))
            }
        }
    }

    /// All bindings. A method with additional bindings has several.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// Finds the binding of a request. `path` is the path as the client sent it, without the query.
    pub fn find<'a>(&'a self, http_method: &str, path: &'a str) -> Lookup<Found<'a>> {
        self.router
            .find(http_method, path)
            .map(|found| Found::new(found.route, &self.bindings[found.route], path, found))
    }

    /// What [`Self::find`] has found in this table for the same path. `None`: it is of another table.
    pub fn attach<'a>(&'a self, detached: Detached, path: &'a str) -> Option<Found<'a>> {
        let Detached { index, matched } = detached;
        Some(Found::new(index, self.bindings.get(index)?, path, matched))
    }
}

fn compile(registry: &Registry, method: &MethodDescriptor) -> Result<Vec<Binding>, String> {
    HttpForm::of(method)?.into_iter().map(|form| Binding::compile(registry, method, form)).collect()
}

fn refusals(bindings: &[Binding], refused: &Refused) -> Vec<RuleError> {
    let name = |binding: &Binding| binding.method().full_name().to_owned();
    match refused {
        Refused::Conflicts(conflicts) => conflicts
            .iter()
            .map(|conflict| {
                let (first, second) = (&bindings[conflict.first], &bindings[conflict.second]);
                let problem = format!(
                    "{} {} matches the same requests as {} {} of {}: change one of the paths",
                    second.http_method(),
                    second.template(),
                    first.http_method(),
                    first.template(),
                    first.method().full_name(),
                );
                RuleError { method: name(second), problem }
            })
            .collect(),
        Refused::TooComplex => {
            let longest = bindings.iter().max_by_key(|binding| binding.template().wildcards());
            let error = |binding: &Binding| RuleError {
                method: name(binding),
                problem: format!(
                    "{} and other paths overlap in too many ways: replace `*` before literals by literals",
                    binding.template()
                ),
            };
            longest.map(error).into_iter().collect()
        }
    }
}
