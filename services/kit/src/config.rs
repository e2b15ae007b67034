//! Typed configuration from, in rising order: defaults, a TOML file, `TRELLIS_…` variables, `--set` flags.
//!
//! The serialized defaults are the schema: a key that they do not contain is unknown, and the type of its default
//! determines how the text of a variable or flag is parsed. In a table whose keys the operator chooses, the entry `*` is
//! the schema of each entry. Errors name the key and its source.

mod key;
mod mistakes;

use std::{env, ffi::OsString, fmt, fs, path::Path, str::FromStr, time::Duration};

pub use key::quoted;
pub(crate) use mistakes::closest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use toml::{Table, Value};

/// The prefix of environment variables; `__` separates the parts of a key.
pub const ENV_PREFIX: &str = "TRELLIS_";

/// An error in the configuration, for one line on the terminal.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

/// The entry of a table whose keys the operator chooses that stands for all of them in a schema.
pub const ANY: &str = "*";

/// Reads the effective configuration. `schema` has the defaults, and an entry [`ANY`] in each table whose keys the operator
/// chooses. `flags` are `key=value` strings.
pub fn load<T>(file: Option<&Path>, flags: &[String], schema: &T) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    let variables = variables(env::vars_os())?;
    from_sources(file, variables, flags, schema)
}

/// A variable of the environment that sets a key.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    /// The parts of the key.
    key: Vec<String>,
    value: String,
}

/// The variables that set keys, among all of the environment. Those of other programs may be any bytes.
fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<Variable>, ConfigError> {
    let mut found = Vec::new();
    for (name, value) in all {
        let name = name.to_string_lossy().into_owned();
        let Some(key) = name.strip_prefix(ENV_PREFIX) else { continue };
        // TRELLIS_CONFIG names the file, and TRELLIS_TEST_… variables belong to the tests.
        if key == "CONFIG" || key.starts_with("TEST_") {
            continue;
        }
        let value = value.into_string().map_err(|_| ConfigError(format!("{name}: the value is not UTF-8")))?;
        let key = key.to_ascii_lowercase().split("__").map(str::to_owned).collect();
        found.push(Variable { name, key, value });
    }
    Ok(found)
}

/// Like [`load`], with the given variables.
fn from_sources<T>(
    file: Option<&Path>,
    variables: Vec<Variable>,
    flags: &[String],
    schema: &T,
) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned,
{
    let schema = Table::try_from(schema).map_err(|e| ConfigError(e.to_string()))?;
    let mut table = match file {
        Some(path) => read_file::<T>(path, &schema)?,
        None => Table::new(),
    };
    for Variable { name, key, value } in variables {
        set(&mut table, &schema, &key, &value).map_err(|e| ConfigError(format!("{name}: {e}")))?;
    }
    for flag in flags {
        let (key, value) = split_flag(flag).ok_or(ConfigError(format!("--set {flag}: expected KEY=VALUE")))?;
        let set = key::parts(key).and_then(|parts| set(&mut table, &schema, &parts, value));
        set.map_err(|e| ConfigError(format!("--set {key}: {e}")))?;
    }
    parse(table).map_err(ConfigError)
}

/// The key and the value of a flag. A quoted part of the key may contain the sign.
pub fn split_flag(flag: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let at = from + flag[from..].find(['=', key::QUOTES[0], key::QUOTES[1]])?;
        if flag[at..].starts_with('=') {
            return Some((&flag[..at], &flag[at + 1..]));
        }
        from = at + key::quoted_length(&flag[at..])?;
    }
}

/// Parses a TOML text, without other sources.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let table = text.parse().map_err(|e: toml::de::Error| ConfigError(e.to_string()))?;
    parse(table).map_err(ConfigError)
}

fn read_file<T: DeserializeOwned>(path: &Path, defaults: &Table) -> Result<Table, ConfigError> {
    let place = path.display();
    let text = fs::read_to_string(path).map_err(|e| ConfigError(format!("{place}: {e}")))?;
    let table: Table = text.parse().map_err(|e| ConfigError(format!("{place}: {e}")))?;
    mistakes::check_known("", &table, defaults).map_err(|e| ConfigError(format!("{place}: {e}")))?;
    // Parsed once on its own, so that an error in the file names the file.
    parse::<T>(table.clone()).map_err(|e| ConfigError(format!("{place}: {e}")))?;
    Ok(table)
}

fn parse<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    let table = Value::Table(table);
    serde_path_to_error::deserialize(table.clone()).map_err(|error| {
        let reason = error.inner().to_string();
        let reason = mistakes::in_plain_words(reason.lines().next().unwrap_or_default(), error.path(), &table);
        let key = key::of(error.path());
        if key.is_empty() { reason } else { format!("{key}: {reason}") }
    })
}

/// Sets the key with these `parts` to `text`, parsed as the type in the schema.
fn set(table: &mut Table, schema: &Table, parts: &[String], text: &str) -> Result<(), String> {
    let Some((name, parents)) = parts.split_last() else { return Err("the key is empty".to_owned()) };
    let mut here = table;
    // `None`: any key, with a text.
    let mut schema = Some(schema).filter(|known| !known.is_empty());
    let (mut prefix, mut in_entry) = (String::new(), false);
    for parent in parents {
        schema = match schema {
            Some(known) => {
                let found = mistakes::find(&prefix, parent, known);
                let found = found.map_err(|error| if in_entry { mistakes::with_dots(&error) } else { error })?;
                in_entry |= known.contains_key(ANY);
                let inner = found.as_table().ok_or_else(|| mistakes::no_table(&prefix, parent))?;
                // A table without a schema has keys that the operator chooses (trusted keys).
                Some(inner).filter(|inner| !inner.is_empty())
            }
            None => None,
        };
        prefix += &key::quoted(parent);
        prefix.push('.');
        let entry = here.entry(parent.clone()).or_insert_with(|| Value::Table(Table::new()));
        here = entry.as_table_mut().ok_or_else(|| mistakes::no_table("", parent))?;
    }
    let value = match schema {
        Some(known) => typed(mistakes::find(&prefix, name, known)?, text)?,
        None => Value::String(text.to_owned()),
    };
    here.insert(name.clone(), value);
    Ok(())
}

fn typed(default: &Value, text: &str) -> Result<Value, String> {
    fn read<T: FromStr>(text: &str, wanted: &str) -> Result<T, String> {
        text.parse().map_err(|_| format!("expected {wanted}, got {text:?}"))
    }
    Ok(match default {
        Value::Integer(_) => Value::Integer(read(text, "a whole number")?),
        Value::Float(_) => Value::Float(read(text, "a number")?),
        Value::Boolean(_) => Value::Boolean(read(text, "true or false")?),
        // As in a file, for lists of tables and texts with commas.
        Value::Array(_) if text.trim_start().starts_with('[') => {
            let parsed = format!("list = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("list"));
            parsed.ok_or_else(|| format!("expected a list, such as [\"a\", \"b\"], got {text:?}"))?
        }
        Value::Array(_) => Value::Array(
            text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| Value::String(t.to_owned())).collect(),
        ),
        Value::Table(_) => return Err("is a table: set the keys in it".to_owned()),
        _ => Value::String(text.to_owned()),
    })
}

/// The configuration as TOML, with masked secrets.
pub fn print<T: Serialize>(config: &T) -> Result<String, ConfigError> {
    toml::to_string_pretty(config).map_err(|e| ConfigError(e.to_string()))
}

/// The keys whose values differ. Secrets are masked, so they compare as equal.
pub fn differences<T: Serialize>(one: &T, other: &T) -> Result<Vec<String>, ConfigError> {
    let table = |config: &T| Table::try_from(config).map_err(|e| ConfigError(e.to_string()));
    let mut keys = Vec::new();
    compare("", &table(one)?, &table(other)?, &mut keys);
    Ok(keys)
}

fn compare(prefix: &str, one: &Table, other: &Table, keys: &mut Vec<String>) {
    let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    for name in names {
        let key = format!("{prefix}{}", key::quoted(name));
        match (one.get(name), other.get(name)) {
            (Some(Value::Table(one)), Some(Value::Table(other))) => compare(&format!("{key}."), one, other, keys),
            (one, other) if one != other => keys.push(key),
            _ => {}
        }
    }
}

/// A duration in text form: `250ms`, `5s`, `15m`, `2h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let expected = || format!("expected a duration such as 250ms, 5s, 15m, 2h or 30d, got {text:?}");
        let number: u64 = number.parse().map_err(|_| expected())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(expected()),
        };
        number.checked_mul(millis).map(|ms| Self(Duration::from_millis(ms))).ok_or_else(expected)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (unit, name) = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
            .into_iter()
            .find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit))
            .unwrap_or((1, "ms"));
        write!(f, "{}{name}", millis / unit)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A text that is never printed: a password, or an address that contains one.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "***" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "***" })
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
