//! Content codings, and which of those that are offered for a response the client prefers (RFC 9110, section 12.5.3).

use http::{HeaderMap, HeaderValue, header::ACCEPT_ENCODING};

use super::weights::members;

/// A content coding (RFC 9110, section 8.4.1; RFC 7932; RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Zstd,
    Brotli,
    Gzip,
}

impl ContentCoding {
    /// All codings. For equal weights the first one is used: it compresses fastest.
    pub(crate) const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The name in `accept-encoding` and `content-encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The value of `content-encoding`.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// The one of the `offered` codings that the client prefers; the first one if several have the highest weight. `None`:
    /// the client accepts none of them, or prefers the body as it is. A client that accepts nothing at all gets the body
    /// as it is too, because a response is more useful to it than 406.
    pub(crate) fn preferred(headers: &HeaderMap, offered: &[Self]) -> Option<Self> {
        let accepted = Accepted::read(headers);
        let identity = accepted.identity();
        let weighted = offered.iter().map(|coding| (*coding, accepted.weight(*coding)));
        // Of equal weights `max_by_key` returns the last one.
        let (best, weight) = weighted.rev().max_by_key(|(_, weight)| *weight)?;
        (weight > 0 && weight >= identity).then_some(best)
    }

    /// The coding with a name (names are compared without case).
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| coding.is_named(name))
    }

    fn is_named(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name()) || self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

/// The members of `accept-encoding` with their weights, in thousandths.
struct Accepted<'a>(Vec<(&'a str, u16)>);

impl<'a> Accepted<'a> {
    fn read(headers: &'a HeaderMap) -> Self {
        Self(members(headers, &ACCEPT_ENCODING).collect())
    }

    /// The weight of a coding; 0: the client does not accept it.
    fn weight(&self, coding: ContentCoding) -> u16 {
        self.find(|name| coding.is_named(name)).or_else(|| self.find(|name| name == "*")).unwrap_or(0)
    }

    /// The weight of the body as it is. It is acceptable unless it is excluded, and the last choice unless it is named.
    fn identity(&self) -> u16 {
        self.find(|name| name.eq_ignore_ascii_case("identity")).unwrap_or(0)
    }

    fn find(&self, is_one: impl Fn(&str) -> bool) -> Option<u16> {
        self.0.iter().find(|(name, _)| is_one(name)).map(|(_, weight)| *weight)
    }
}

#[cfg(test)]
mod tests {
    use super::{ContentCoding::*, *};

    fn preferred(lines: &[&'static str]) -> Option<ContentCoding> {
        let headers = lines.iter().map(|line| (ACCEPT_ENCODING, HeaderValue::from_static(line))).collect();
        ContentCoding::preferred(&headers, &ContentCoding::ALL)
    }

    #[test]
    fn coding_with_the_highest_weight_is_used() {
        for (line, expected) in [
            ("gzip", Some(Gzip)),
            ("GZip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip;q=1.0, br;q=0.5", Some(Gzip)),
            ("br;q=0.001, gzip;q=0.002", Some(Gzip)),
            ("*", Some(Zstd)),
            ("*;q=0.5, gzip", Some(Gzip)),
            ("zstd;q=0, *", Some(Brotli)),
            ("gzip ; Q = 0.5", Some(Gzip)),
            ("identity;q=0, gzip", Some(Gzip)),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
        ] {
            assert_eq!(preferred(&[line]), expected, "{line}");
        }
        assert_eq!(preferred(&["deflate", "br"]), Some(Brotli), "all lines count");
    }

    #[test]
    fn client_that_accepts_no_coding_gets_none() {
        for line in [
            "",
            "identity",
            "deflate, compress",
            "gzip;q=0",
            "gzip;q=0.000, br;q=0",
            "*;q=0",
            "identity, gzip;q=0.5",
            "gzip;q=2",
            "gzip;q=1.001",
            "gzip;q=0.1234",
            "gzip;q=",
            "gzip;level=1",
            "gzip;q=1;q=1",
            "*;q=0, identity;q=0",
            "gzipped",
        ] {
            assert_eq!(preferred(&[line]), None, "{line}");
        }
        assert_eq!(preferred(&[]), None);
    }

    #[test]
    fn only_offered_codings_are_used() {
        let headers = [(ACCEPT_ENCODING, HeaderValue::from_static("zstd, gzip;q=0.1"))].into_iter().collect();
        assert_eq!(ContentCoding::preferred(&headers, &[Brotli, Gzip]), Some(Gzip));
        assert_eq!(ContentCoding::preferred(&headers, &[]), None);
    }
}
