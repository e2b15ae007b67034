//! Finds a method by its name or the end of its name.

use std::{ffi::OsStr, sync::OnceLock};

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
};
use gateway::{CatalogMethod, Config, config::ExternalConfig};
use kit::policy::Table;

use super::name;

/// The similarity from which a name is suggested, between 0 and 1.
const SIMILAR: f64 = 0.8;
/// The maximum number of suggestions.
const SUGGESTIONS: usize = 3;

/// Reads any name, and offers the methods of the mesh to completion scripts. Those of external upstreams are in files
/// that the scripts do not read.
#[derive(Clone)]
pub(crate) struct MethodName;

impl TypedValueParser for MethodName {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(mesh_methods().iter().map(|name| PossibleValue::new(name.as_str()))))
    }
}

fn mesh_methods() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let table = Table::from_descriptors(proto::DESCRIPTORS).unwrap_or_default();
        let mut names: Vec<_> = table.iter().map(|(path, _)| path.trim_start_matches('/').to_owned()).collect();
        names.sort_unstable();
        names
    })
}

/// The method with this name. The error suggests others.
pub(super) fn find<'a>(all: &'a [CatalogMethod], wanted: &str, config: &Config) -> Result<&'a CatalogMethod, String> {
    let dotted = dotted(wanted);
    let found: Vec<_> = all.iter().filter(|method| ends_with(method, &dotted)).collect();
    match found[..] {
        [method] => Ok(method),
        [] => Err(unknown(all, wanted, config)),
        _ => {
            let names: Vec<_> = found.into_iter().map(name).collect();
            Err(format!("{wanted:?} is the name of several methods: {}; name one of them", names.join(", ")))
        }
    }
}

fn dotted(name: &str) -> String {
    name.trim_matches('/').replace('/', ".").to_ascii_lowercase()
}

/// Whether the name of the method is `dotted`, or ends with it after a dot.
fn ends_with(method: &CatalogMethod, dotted_name: &str) -> bool {
    let full = dotted(&method.path);
    full.strip_suffix(dotted_name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && !dotted_name.is_empty()
}

fn unknown(all: &[CatalogMethod], wanted: &str, config: &Config) -> String {
    if let Some(prefix) = undescribed(wanted, config) {
        return format!("the methods of {prefix} are not known here; {}", how_to_describe(prefix));
    }
    let mut similar: Vec<_> = all.iter().map(|method| (similarity(method, wanted), name(method))).collect();
    similar.retain(|(similarity, _)| *similarity >= SIMILAR);
    similar.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    similar.truncate(SUGGESTIONS);
    let names: Vec<_> = similar.into_iter().map(|(_, name)| name).collect();
    let hint = match names.is_empty() {
        true => "`trellis policy` lists all methods.".to_owned(),
        false => format!("did you mean {}?", names.join(" or ")),
    };
    let hidden: Vec<_> = config.external.iter().filter(|(_, of)| !has_file(of)).map(|(prefix, _)| &**prefix).collect();
    match hidden.first() {
        Some(first) => {
            let all = hidden.join(", ");
            format!(
                "there is no method {wanted:?}; {hint} The methods of {all} are not shown; {}",
                how_to_describe(first)
            )
        }
        None => format!("there is no method {wanted:?}; {hint}"),
    }
}

/// Why the methods of an upstream are not known, and what to do.
fn how_to_describe(prefix: &str) -> String {
    format!(
        "the command opens no connection, so it does not read descriptors by reflection. Make a file with \
         `protoc --include_imports -o FILE.binpb FILE.proto`, and name it in gateway.external.{prefix:?}.descriptors"
    )
}

/// Whether the descriptors of an upstream are a file.
fn has_file(of: &ExternalConfig) -> bool {
    !matches!(of.descriptors.as_str(), "" | "reflection")
}

/// The external upstream without a file of descriptors that would serve the method.
fn undescribed<'a>(wanted: &str, config: &'a Config) -> Option<&'a str> {
    let (service, _) = wanted.trim_matches('/').split_once('/')?;
    let is_under =
        |prefix: &str| service.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let prefixes = config.external.iter().filter(|(prefix, _)| is_under(prefix));
    let (prefix, of) = prefixes.max_by_key(|(prefix, _)| prefix.len())?;
    (!has_file(of)).then_some(prefix)
}

/// How similar a name is to the end of the method's name that has as many parts.
fn similarity(method: &CatalogMethod, wanted: &str) -> f64 {
    let (full, wanted) = (dotted(&method.path), dotted(wanted));
    let parts: Vec<_> = full.split('.').collect();
    let from = parts.len().saturating_sub(wanted.split('.').count());
    strsim::jaro_winkler(&parts[from..].join("."), &wanted)
}
