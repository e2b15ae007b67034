//! A page of records: a filter, an order, and a position.

use kit::{
    Timestamp,
    filter::{Comparison, Filter, FilterError, Restriction},
};
use uuid::Uuid;

/// The fields of a filter with a text.
const TEXTS: [&str; 10] =
    ["action", "principal_kind", "principal", "session", "peer", "target", "code", "reason", "trace_id", "event_id"];
/// The fields of a filter with a number.
const NUMBERS: [&str; 2] = ["calls", "seq"];
/// The field of a filter with a time.
const TIME: &str = "create_time";
/// Greater than every character of a stored text.
const LAST: char = char::MAX;

/// The records of a page.
#[derive(Debug, Clone)]
pub struct RecordQuery {
    condition: Condition,
    /// Only records beyond this one.
    pub after: Option<Cursor>,
    /// Whether newer records come first.
    pub is_newest_first: bool,
    /// The most records.
    pub limit: i64,
}

/// The position of a record in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When it happened.
    pub time: Timestamp,
    /// The id of the record.
    pub id: Uuid,
}

/// A condition on the columns of a record. Columns and operators are constants of this module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    True,
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare { column: &'static str, operator: &'static str, value: Bind },
    Contains { column: &'static str, value: Bind },
}

/// A parameter of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bind {
    Text(String),
    Number(i64),
    Time(Timestamp),
    Id(Uuid),
}

impl RecordQuery {
    /// The first page of the records that match `filter` ([`kit::filter`]). An empty filter matches all.
    pub fn new(filter: &str, is_newest_first: bool, limit: u32) -> Result<Self, FilterError> {
        let condition = match Filter::parse(filter)? {
            Some(filter) => condition(&filter)?,
            None => Condition::True,
        };
        Ok(Self { condition, after: None, is_newest_first, limit: i64::from(limit) })
    }

    pub(super) fn condition(&self) -> &Condition {
        &self.condition
    }
}

fn condition(filter: &Filter) -> Result<Condition, FilterError> {
    let all = |parts: &[Filter]| parts.iter().map(condition).collect::<Result<Vec<_>, _>>();
    Ok(match filter {
        Filter::And(parts) => Condition::And(all(parts)?),
        Filter::Or(parts) => Condition::Or(all(parts)?),
        Filter::Not(inner) => Condition::Not(Box::new(condition(inner)?)),
        Filter::Restriction(restriction) => restricted(restriction)?,
    })
}

fn restricted(restriction: &Restriction) -> Result<Condition, FilterError> {
    let Restriction { field, value, value_at, comparison, .. } = restriction;
    let among = |names: &[&'static str]| names.iter().copied().find(|name| name == field);
    if let Some(column) = among(&TEXTS) {
        return if column == "event_id" { id(restriction) } else { compare_text(column, restriction) };
    }
    let (column, value) = if let Some(column) = among(&NUMBERS) {
        let number = value.parse().map_err(|_| FilterError::new(*value_at, format!("{field} is a whole number")))?;
        (column, Bind::Number(number))
    } else if field == TIME {
        (TIME, Bind::Time(time(restriction)?))
    } else {
        let known = [&TEXTS[..], &NUMBERS[..], &[TIME]].concat().join(", ");
        return Err(FilterError::new(
            restriction.field_at,
            format!("there is no field {field}; the fields are {known}"),
        ));
    };
    let operator = if *comparison == Comparison::Has { "=" } else { operator(*comparison) };
    Ok(Condition::Compare { column, operator, value })
}

fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::NotEqual => "<>",
        other => other.as_str(),
    }
}

fn time(restriction: &Restriction) -> Result<Timestamp, FilterError> {
    let parsed = restriction.value.parse::<prost_types::Timestamp>();
    let message = "create_time is a time in quotes, such as \"2026-12-01T00:00:00Z\"";
    parsed.map(Timestamp::from).map_err(|_| FilterError::new(restriction.value_at, message))
}

fn id(restriction: &Restriction) -> Result<Condition, FilterError> {
    let Restriction { value, value_at, comparison, .. } = restriction;
    let value = Uuid::try_parse(value).map_err(|_| FilterError::new(*value_at, "event_id is a UUID"))?;
    match comparison {
        Comparison::Equal | Comparison::NotEqual => {
            Ok(Condition::Compare { column: "event_id", operator: operator(*comparison), value: Bind::Id(value) })
        }
        _ => Err(FilterError::new(*value_at, "event_id can be compared with = and != only")),
    }
}

/// Compares a text. `=` with `*` at the end of the value compares the beginning, and `:` finds the value anywhere.
fn compare_text(column: &'static str, restriction: &Restriction) -> Result<Condition, FilterError> {
    let Restriction { value, value_at, comparison, .. } = restriction;
    if value.contains('\0') {
        return Err(FilterError::new(*value_at, "the value has a character that no text has"));
    }
    let compare = |operator, value: String| Condition::Compare { column, operator, value: Bind::Text(value) };
    let is_empty = || compare("=", String::new());
    Ok(match (comparison, value.strip_suffix('*')) {
        (Comparison::Has, Some("")) => Condition::Not(Box::new(is_empty())),
        (Comparison::Has, _) => Condition::Contains { column, value: Bind::Text(value.clone()) },
        (Comparison::Equal, Some(prefix)) => begins_with(&compare, prefix),
        (Comparison::NotEqual, Some(prefix)) => Condition::Not(Box::new(begins_with(&compare, prefix))),
        (other, _) => compare(operator(*other), value.clone()),
    })
}

/// A range of an index, which a pattern is not in every collation.
fn begins_with(compare: &impl Fn(&'static str, String) -> Condition, prefix: &str) -> Condition {
    let end = format!("{prefix}{LAST}");
    Condition::And(vec![compare(">=", prefix.to_owned()), compare("<", end)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(filter: &str) -> String {
        RecordQuery::new(filter, true, 1).unwrap_err().to_string()
    }

    #[test]
    fn unknown_field_and_malformed_value_are_refused() {
        assert!(
            refused("a = 1").starts_with("character 1: there is no field a; the fields are action, principal_kind")
        );
        assert_eq!(refused("code=OK AND calls > x"), "character 21: calls is a whole number");
        assert!(refused("create_time > yesterday").starts_with("character 15: create_time is a time in quotes"));
        assert_eq!(refused("event_id = x"), "character 12: event_id is a UUID");
        let id = Uuid::nil();
        assert_eq!(refused(&format!("event_id > {id}")), "character 12: event_id can be compared with = and != only");
    }

    #[test]
    fn values_are_parameters_only() {
        let condition = RecordQuery::new("target:\"'; DROP\" OR principal=\"u*\"", true, 1).unwrap().condition;
        let text = |text: &str| Bind::Text(text.to_owned());
        let compare = |operator, value: &str| Condition::Compare { column: "principal", operator, value: text(value) };
        let prefix = Condition::And(vec![compare(">=", "u"), compare("<", "u\u{10ffff}")]);
        let contains = Condition::Contains { column: "target", value: text("'; DROP") };
        assert_eq!(condition, Condition::Or(vec![contains, prefix]));
    }
}
