//! What a contract may say of how often: nothing that would admit nobody, or everybody.

use prost_reflect::{DynamicMessage, MethodDescriptor, Value};

/// How many rules one call may have: `kit::limiter::MOST_RULES`.
const MOST: usize = 4;
/// How long a period may be.
const LONGEST_DAYS: i64 = 366;
/// The numbers of `RateLimitKey` that a caller can make up anew for each call.
const CLAIMED: [i32; 2] = [API_KEY, HEADER];
const API_KEY: i32 = 3;
const HEADER: i32 = 4;
const COUNT: i32 = 1;

/// What is wrong with the limits of `policy`.
pub(crate) fn findings(method: &MethodDescriptor, policy: &DynamicMessage, is_internal: bool) -> Vec<String> {
    let limits = messages(policy, "rate_limit");
    let streams = policy.has_field_by_name("stream_limit").then(|| message(policy, "stream_limit")).flatten();
    let mut wrong: Vec<String> = Vec::new();
    if is_internal && (!limits.is_empty() || streams.is_some()) {
        wrong.push("is internal and has limits, which the gateway keeps: take one of the two away".to_owned());
    }
    if limits.len() > MOST {
        wrong.push(format!("has {} rate limits: {MOST} at most", limits.len()));
    }
    wrong.extend(limits.iter().filter_map(rate).map(|what| format!("has a rate_limit {what}")));
    let is_claimed = |limit: &DynamicMessage| CLAIMED.contains(&number(limit, "key"));
    if !limits.is_empty() && limits.iter().all(is_claimed) {
        wrong
            .push("counts by headers alone, which a caller makes up: add a rate_limit by caller or address".to_owned());
    }
    if let Some(streams) = streams {
        let is_stream = method.is_client_streaming() || method.is_server_streaming();
        wrong.extend((!is_stream).then(|| "is no stream and has a stream_limit".to_owned()));
        wrong.extend((amount(&streams, "streams") == 0).then(|| "has a stream_limit of no streams".to_owned()));
        wrong
            .extend(is_claimed(&streams).then(|| "has a stream_limit by a header, which a caller makes up".to_owned()));
    }
    wrong.into_iter().map(|what| format!("  {} {what}", method.full_name())).collect()
}

fn rate(limit: &DynamicMessage) -> Option<String> {
    let (requests, burst, cost) = (amount(limit, "requests"), amount(limit, "burst"), amount(limit, "cost").max(1));
    let is_count = number(limit, "kind") == COUNT;
    let at_once = if burst == 0 { requests } else { burst };
    let micros = period_micros(limit);
    if requests == 0 {
        Some("without `requests`".to_owned())
    } else if !(1_000..=LONGEST_DAYS * 86_400 * 1_000_000).contains(&micros) {
        Some(format!("whose `period` is not between a millisecond and {LONGEST_DAYS} days"))
    } else if i64::from(requests) > micros {
        Some("of more than one in a microsecond".to_owned())
    } else if cost > at_once {
        Some(format!("whose cost of {cost} is more than the {at_once} that may come at once"))
    } else if is_count && burst != 0 {
        Some("that is a count and has a `burst`, which is a rate's".to_owned())
    } else {
        header(limit)
    }
}

fn header(limit: &DynamicMessage) -> Option<String> {
    let name =
        limit.get_field_by_name("header").and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match (number(limit, "key") == HEADER, name.is_empty()) {
        (true, true) => Some("by a header that it does not name".to_owned()),
        (false, false) => Some(format!("that names the header {name} and does not count by it")),
        (true, false) if !name.chars().all(is_name) => Some(format!("by {name:?}, which is no header in lower case")),
        _ => None,
    }
}

fn messages(of: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let list = of.get_field_by_name(field);
    let list = list.as_deref().and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(|value| value.as_message().cloned()).collect()
}

fn message(of: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    of.get_field_by_name(field)?.as_message().cloned()
}

fn amount(of: &DynamicMessage, field: &str) -> u32 {
    of.get_field_by_name(field).and_then(|value| value.as_u32()).unwrap_or(0)
}

fn number(of: &DynamicMessage, field: &str) -> i32 {
    of.get_field_by_name(field).and_then(|value| value.as_enum_number()).unwrap_or(0)
}

fn period_micros(limit: &DynamicMessage) -> i64 {
    let Some(period) = message(limit, "period") else { return 0 };
    let seconds = period.get_field_by_name("seconds").and_then(|value| value.as_i64()).unwrap_or(0);
    let nanos = period.get_field_by_name("nanos").and_then(|value| value.as_i32()).unwrap_or(0);
    seconds.saturating_mul(1_000_000).saturating_add(i64::from(nanos / 1_000))
}
