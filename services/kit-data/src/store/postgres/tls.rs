//! Requires TLS for remote databases.

use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Requires TLS beyond the loopback, also without an `sslmode` and with `prefer` or `allow`. `sslmode=disable` is
/// accepted and logged.
pub(super) fn required(options: PgConnectOptions, schema: &str) -> PgConnectOptions {
    if is_local(&options) {
        return options;
    }
    match options.get_ssl_mode() {
        PgSslMode::Prefer | PgSslMode::Allow => options.ssl_mode(PgSslMode::Require),
        PgSslMode::Disable => {
            tracing::warn!(
                database = schema,
                host = options.get_host(),
                "the connection to the database is not encrypted (sslmode=disable)"
            );
            options
        }
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull => options,
    }
}

/// Whether the host is a Unix socket or the loopback.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn mode(url: &str) -> String {
        format!("{:?}", required(PgConnectOptions::from_str(url).unwrap(), "users").get_ssl_mode())
    }

    #[test]
    fn cleartext_beyond_loopback_needs_sslmode_disable() {
        for host in ["db.example.org", "10.0.0.7", "[2001:db8::1]"] {
            assert_eq!(mode(&format!("postgres://u@{host}/d")), "Require");
            assert_eq!(mode(&format!("postgres://u@{host}/d?sslmode=prefer")), "Require");
            assert_eq!(mode(&format!("postgres://u@{host}/d?sslmode=allow")), "Require");
            assert_eq!(mode(&format!("postgres://u@{host}/d?sslmode=disable")), "Disable");
            assert_eq!(mode(&format!("postgres://u@{host}/d?sslmode=verify-full")), "VerifyFull");
        }
        for local in ["localhost", "127.0.0.1", "127.8.0.1", "[::1]", "%2Fvar%2Frun"] {
            assert_eq!(mode(&format!("postgres://u@{local}/d")), "Prefer", "{local}");
        }
    }
}
