//! What the issuers of a configuration make of a token, for an operator whose calls are refused: `trellis token check`.

use kit::{
    jwt::{self, IssuerKeys, StatedToken},
    time::{Clock as _, SystemClock},
};
use serde_json::Value;

use super::{MOST_KEYS, check, fetch, registry::key, rules};
use crate::config::{Config, TokenIssuerConfig};

/// The longest part of a token that a row shows, in characters.
const MOST_SHOWN: usize = 200;

/// What a token states, and whether it fits.
#[derive(Debug)]
pub struct TokenReport {
    /// The rows of a table: a name, and what the token states beside what the configuration accepts.
    pub rows: Vec<(&'static str, String)>,
    /// The names of the upstreams that accept it, or why none does.
    pub verdict: Result<Vec<String>, String>,
}

/// Examines a token. Reads the keys of its issuer over the network. The error names a wrong key of the configuration, or
/// states that the text is no token.
pub async fn check_token(config: &Config, text: &str) -> Result<TokenReport, String> {
    check(config).map_err(|error| format!("configuration: {error}"))?;
    let text = text.trim();
    let token =
        text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or(text, |it| it.1);
    let stated = StatedToken::read(token.trim()).map_err(|why| format!("the token {why}"))?;
    let issuer = stated.claims.get("iss").and_then(Value::as_str).unwrap_or_default();
    let Some((name, of)) = config.token_issuers.iter().find(|(_, of)| of.issuer == issuer) else {
        return Ok(TokenReport {
            rows: vec![("issuer (iss)", shown(stated.claims.get("iss")))],
            verdict: Err(unlisted(issuer, config)),
        });
    };
    let mut rows = vec![("issuer (iss)", format!("{}: that of {}", shown_text(issuer), key(name)))];
    rows.extend(facts(&stated, of));
    let verdict = match keys(of, &stated, &mut rows).await {
        Ok(keys) => rules(of).verify(token.trim(), &keys, SystemClock.now()).map(drop).map_err(|why| why.to_string()),
        Err(why) => Err(format!("the keys cannot be read: {why}")),
    };
    let upstreams = config.external.iter().filter(|(_, upstream)| upstream.token_issuers.contains(name));
    let upstreams = upstreams.map(|(prefix, _)| prefix.clone()).collect();
    Ok(TokenReport { rows, verdict: verdict.map(|()| upstreams) })
}

/// Reads the keys of the issuer, and adds the rows about them.
async fn keys(
    of: &TokenIssuerConfig,
    stated: &StatedToken,
    rows: &mut Vec<(&'static str, String)>,
) -> Result<IssuerKeys, String> {
    let document = fetch::key_set(of).await?;
    let keys = IssuerKeys::read(&document.set, &of.algorithms, MOST_KEYS);
    let keys = keys.map_err(|why| format!("{} {why}", document.address))?;
    let ids: Vec<_> = keys.ids().map(|id| id.map_or("(no kid)".to_owned(), shown_text)).collect();
    rows.push(("keys", format!("{} at {}: {}", ids.len(), document.address, ids.join(", "))));
    let key_id = match stated.key_id.as_deref() {
        None => "none: each key of its algorithm is tried".to_owned(),
        Some(id) if keys.ids().any(|known| known == Some(id)) => format!("{}: known", shown_text(id)),
        Some(id) => format!("{}: unknown", shown_text(id)),
    };
    rows.push(("key id (kid)", key_id));
    Ok(keys)
}

/// The rows about the header and the claims.
fn facts(stated: &StatedToken, of: &TokenIssuerConfig) -> Vec<(&'static str, String)> {
    let accepted: Vec<_> = of.algorithms.iter().filter_map(|one| serde_json::to_value(one).ok()).collect();
    let accepted: Vec<_> = accepted.iter().filter_map(Value::as_str).collect();
    let claim = |name: &str| shown(stated.claims.get(name));
    let now = SystemClock.now().as_secs();
    let time = |name: &str| match stated.claims.get(name).and_then(Value::as_f64) {
        Some(at) => format!("{at}: {}", relative(at, now)),
        None => claim(name),
    };
    vec![
        ("algorithm (alg)", format!("{:?}; accepted: {}", stated.algorithm, accepted.join(", "))),
        ("type (typ)", stated.kind.as_deref().map_or("none".to_owned(), shown_text)),
        ("audience (aud)", format!("{}; accepted: {}", claim("aud"), of.audiences.join(", "))),
        ("subject (sub)", claim("sub")),
        ("issued (iat)", time("iat")),
        ("not before (nbf)", time("nbf")),
        ("expires (exp)", time("exp")),
        ("scopes (scope)", shown(stated.claims.get("scope").or_else(|| stated.claims.get("scp")))),
    ]
}

/// The distance of a time in a token from now, both in seconds since 1970. A token may state any number.
fn relative(at: f64, now: i64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a time in seconds; the cast saturates")]
    let ahead = (at as i64).saturating_sub(now);
    if ahead > 0 { format!("in {ahead} s") } else { format!("{} s ago", ahead.unsigned_abs()) }
}

/// Why no issuer of the configuration fits.
fn unlisted(issuer: &str, config: &Config) -> String {
    if issuer == jwt::ISSUER {
        return "Trellis has issued it: this command checks tokens of gateway.token_issuers".to_owned();
    }
    let is_near = |of: &&TokenIssuerConfig| of.issuer.trim_end_matches('/') == issuer.trim_end_matches('/');
    if let Some(near) = config.token_issuers.values().find(is_near) {
        return format!("its issuer differs from {:?} by a slash at the end; `issuer` must equal iss", near.issuer);
    }
    match config.token_issuers.values().map(|of| of.issuer.as_str()).collect::<Vec<_>>()[..] {
        [] => "the configuration has no gateway.token_issuers".to_owned(),
        ref all => format!("its issuer is none of gateway.token_issuers: {}", all.join(", ")),
    }
}

/// A claim, without control characters.
fn shown(claim: Option<&Value>) -> String {
    claim.map_or("none".to_owned(), |value| shown_text(&value.to_string()))
}

fn shown_text(text: &str) -> String {
    let is_long = text.chars().nth(MOST_SHOWN).is_some();
    let plain = text.chars().take(MOST_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    plain.chain(is_long.then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_as_a_time_has_a_distance() {
        assert_eq!(relative(1_000.0, 990), "in 10 s");
        assert_eq!(relative(980.9, 990), "10 s ago");
        assert_eq!(relative(-1e300, 1), format!("{} s ago", i64::MAX.unsigned_abs() + 1));
        assert_eq!(relative(1e300, -1), format!("in {} s", i64::MAX));
    }
}
