//! Checks the limits of a contract, and that audited methods are no streams.

use prost_reflect::{DynamicMessage, MethodDescriptor, Value};

/// The maximum number of rate limits of a method: `kit::limiter::MOST_RULES`.
const MOST: usize = 4;
/// The maximum length of a period, in days.
const LONGEST_DAYS: i64 = 366;
/// The values of `RateLimitKey` that a client can invent for each call.
const CLAIMED: [i32; 2] = [API_KEY, HEADER];
const API_KEY: i32 = 3;
const HEADER: i32 = 4;
const COUNT: i32 = 1;

/// The errors in the limits of `policy`.
pub(crate) fn findings(method: &MethodDescriptor, policy: &DynamicMessage, is_internal: bool) -> Vec<String> {
    let limits = messages(policy, "rate_limit");
    let streams = policy.has_field_by_name("stream_limit").then(|| message(policy, "stream_limit")).flatten();
    let mut errors: Vec<String> = Vec::new();
    if is_internal && (!limits.is_empty() || streams.is_some()) {
        errors.push("is internal and has limits, which only the gateway enforces: remove the limits, or make it public or signed_in".to_owned());
    }
    if limits.len() > MOST {
        errors.push(format!("has {} rate limits; the maximum is {MOST}", limits.len()));
    }
    errors.extend(limits.iter().filter_map(rate).map(|error| format!("has a rate_limit {error}")));
    let is_claimed = |limit: &DynamicMessage| CLAIMED.contains(&number(limit, "key"));
    if !limits.is_empty() && limits.iter().all(is_claimed) {
        errors.push(
            "counts only by headers, which a client can invent: add a rate_limit by caller or address".to_owned(),
        );
    }
    let is_stream = method.is_client_streaming() || method.is_server_streaming();
    if is_stream && policy.get_field_by_name("audit").and_then(|value| value.as_bool()).unwrap_or(false) {
        errors.push("is a stream and has `audit`, which needs one result: remove it".to_owned());
    }
    if let Some(streams) = streams {
        errors.extend((!is_stream).then(|| "is not a stream and has a stream_limit: remove it".to_owned()));
        errors.extend(
            (amount(&streams, "streams") == 0).then(|| "has a stream_limit of 0 streams: set `streams`".to_owned()),
        );
        errors.extend(is_claimed(&streams).then(|| {
            "has a stream_limit by a header, which a client can invent: count by caller or address".to_owned()
        }));
    }
    errors.into_iter().map(|error| format!("  {} {error}", method.full_name())).collect()
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
        Some("of more than one request per microsecond".to_owned())
    } else if cost > at_once {
        Some(format!("whose cost of {cost} exceeds its burst of {at_once}"))
    } else if is_count && burst != 0 {
        Some("of kind COUNT with a `burst`, which only rates have".to_owned())
    } else {
        header(limit)
    }
}

fn header(limit: &DynamicMessage) -> Option<String> {
    let name =
        limit.get_field_by_name("header").and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    match (number(limit, "key") == HEADER, name.is_empty()) {
        (true, true) => Some("by header without the name of the `header`".to_owned()),
        (false, false) => Some(format!("that names the header {name} and has another key")),
        (true, false) if !name.chars().all(is_name) => {
            Some(format!("by {name:?}, which is not a header name in lower case"))
        }
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
