//! Why a token of another issuer is refused.

use std::fmt;

use jsonwebtoken::errors::{Error, ErrorKind};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerRefusal {
    /// No key of the issuer has its key id and suits its algorithm, or it has no key id and no key verifies it. The issuer
    /// may have published its key a moment ago.
    UnknownKey,
    /// It has expired.
    Expired,
    /// It is no JSON Web Token.
    Malformed,
    /// `alg` is none of the accepted ones.
    Algorithm,
    /// `typ` is that of another kind of token.
    Type,
    /// `crit` names an extension.
    CriticalExtension,
    /// The key that it names has not signed it.
    Signature,
    /// `iss` is another one.
    Issuer,
    /// `aud` has none of the accepted audiences.
    Audience,
    /// This claim is missing or has another form.
    Claim(&'static str),
    /// This claim, `nbf` or `iat`, is in the future.
    Early(&'static str),
}

impl IssuerRefusal {
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => {
                let names = ["exp", "nbf", "iat", "iss", "aud", "sub"];
                names.into_iter().find(|known| known == name).map_or(Self::Malformed, Self::Claim)
            }
            ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => Self::Malformed,
            _ => Self::Signature,
        }
    }

    /// The name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Type => "type",
            Self::CriticalExtension => "critical_extension",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claim(_) => "claim",
            Self::Early(_) => "early",
        }
    }
}

/// The fault of a token, for the operator. The text has no part of the token.
impl fmt::Display for IssuerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str("no key of the issuer has its key id (kid) and algorithm (alg)"),
            Self::Expired => f.write_str("it has expired (exp)"),
            Self::Malformed => f.write_str("it is no JSON Web Token"),
            Self::Algorithm => f.write_str("its algorithm (alg) is none of `algorithms`"),
            Self::Type => f.write_str("its type (typ) is neither JWT nor at+jwt: it is no access token"),
            Self::CriticalExtension => f.write_str("it has a critical extension (crit)"),
            Self::Signature => f.write_str("the key with its key id (kid) has not signed it"),
            Self::Issuer => f.write_str("its issuer (iss) is not `issuer`"),
            Self::Audience => f.write_str("its audience (aud) is none of `audiences`"),
            Self::Claim(name) => write!(f, "its claim {name} is missing or has another form"),
            Self::Early(name) => {
                write!(f, "its claim {name} is in the future: the clocks differ by more than `clock_skew`")
            }
        }
    }
}
