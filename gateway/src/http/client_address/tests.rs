use http::HeaderValue;

use super::*;
use dice::Dice;

#[path = "../../../../services/kit/tests/support/dice.rs"]
mod dice;

const HEADERS: [(ClientAddressHeader, HeaderName); 2] =
    [(ClientAddressHeader::XForwardedFor, X_FORWARDED_FOR), (ClientAddressHeader::Forwarded, FORWARDED)];

fn proxies(header: ClientAddressHeader) -> Proxies {
    let networks = ["10.0.0.0/8", "2001:db8:1::/48", "::1"].map(str::to_owned);
    Proxies::new(&networks, header).unwrap()
}

/// The client of a request, with proxies that write the header of the first line.
fn client(peer: &str, lines: &[(&'static str, &[u8])]) -> String {
    let header = match lines[0].0 {
        "forwarded" => ClientAddressHeader::Forwarded,
        _ => ClientAddressHeader::XForwardedFor,
    };
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    proxies(header).client(peer.parse().unwrap(), &map).to_string()
}

#[test]
fn headers_of_untrusted_peers_are_ignored() {
    assert_eq!(client("192.0.2.9", &[("x-forwarded-for", b"10.1.1.1")]), "192.0.2.9");
    assert_eq!(client("192.0.2.9", &[("forwarded", b"for=10.1.1.1")]), "192.0.2.9");
    // Behind a trusted proxy, the nearest entry that is not a trusted proxy counts, not the one that the caller wrote.
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", b"198.51.100.7, 192.0.2.9, 10.0.0.2")]), "192.0.2.9");
    let lines: [(_, &[u8]); 2] = [("x-forwarded-for", b"198.51.100.7"), ("x-forwarded-for", b"192.0.2.9")];
    assert_eq!(client("10.0.0.1", &lines), "192.0.2.9");
}

#[test]
fn proxies_state_the_client_in_both_headers() {
    let nodes = [
        ("for=192.0.2.9;proto=https", "192.0.2.9"),
        ("for=198.51.100.7, For=\"[2001:db8::9]:4711\"", "2001:db8::9"),
        ("for=\"192.0.2.9:80\", for=10.0.0.3", "192.0.2.9"),
        ("by=\"_a,b\";for=\"192.0.2.9:_http\";host=\"a\\\",b\"", "192.0.2.9"),
        ("proto=https; for=\"\\192.0.2.9\" ;", "192.0.2.9"),
        ("for=\"[2001:db8::9]\", for=\"[2001:db8:1::1]:1\"", "2001:db8::9"),
    ];
    for (value, expected) in nodes {
        assert_eq!(client("10.0.0.1", &[("forwarded", value.as_bytes())]), expected, "{value}");
    }
    for value in ["192.0.2.9", "192.0.2.9:1234", "[::ffff:192.0.2.9]:1", "1.1.1.1 ,\t192.0.2.9 "] {
        assert_eq!(client("::ffff:10.0.0.1", &[("x-forwarded-for", value.as_bytes())]), "192.0.2.9", "{value}");
        assert_eq!(client("2001:db8:1::5", &[("x-forwarded-for", value.as_bytes())]), "192.0.2.9", "{value}");
    }
    // All entries are trusted proxies.
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", b"10.0.0.3, 10.0.0.2")]), "10.0.0.3");
}

#[test]
fn unreadable_entry_ends_the_chain() {
    let entries = ["", "unknown", "_hidden", "10.0.0.9\u{80}", "10.0.0", "10.0.0.9:", "10.0.0.9:x", "::", "[10.0.0.9]"];
    for entry in entries {
        let at_the_proxy = format!("192.0.2.9, {entry}");
        let further = format!("192.0.2.9, {entry}, 10.0.0.2");
        let of = |value: &str| client("10.0.0.1", &[("x-forwarded-for", value.as_bytes())]);
        assert_eq!(of(&at_the_proxy), "unknown via 10.0.0.1", "{entry:?}");
        assert_eq!(of(&further), "unknown via 10.0.0.2", "{entry:?}");
    }
    let elements = [
        "",
        "for=unknown",
        "for=_hidden",
        "proto=https",
        "for=10.0.0.9;for=192.0.2.9",
        "for=10.0.0.9\u{80}",
        "for=\"10.0.0.9",
        "for=\"10.0.0.9\"x",
        "for=\"10.0.0.9\\",
        "for",
    ];
    for element in elements {
        let value = format!("for=192.0.2.9, {element}");
        assert_eq!(client("10.0.0.1", &[("forwarded", value.as_bytes())]), "unknown via 10.0.0.1", "{element:?}");
    }
}

#[test]
fn a_header_that_our_proxies_do_not_write_is_the_callers_claim() {
    let lines: [(_, &[u8]); 2] = [("x-forwarded-for", b"192.0.2.9"), ("forwarded", b"for=198.51.100.7")];
    assert_eq!(client("10.0.0.1", &lines), "192.0.2.9");
    let lines: [(_, &[u8]); 2] = [("forwarded", b"for=192.0.2.9"), ("x-forwarded-for", b"198.51.100.7")];
    assert_eq!(client("10.0.0.1", &lines), "192.0.2.9");
}

#[test]
fn an_invalid_network_is_refused() {
    for bad in ["10.0.0.0/33", "10.0.0/8", "all", "::/129", "10.0.0.0/-1", ""] {
        assert!(Proxies::new(&[bad.to_owned()], ClientAddressHeader::default()).is_err(), "{bad}");
    }
    let all = Proxies::new(&["0.0.0.0/0".to_owned()], ClientAddressHeader::default()).unwrap();
    assert!(all.contain("8.8.8.8".parse().unwrap()));
}

/// Whatever lines a client sends before the entries that proxies append: the client is the one that the outermost
/// trusted proxy has named, or the unknown one behind it.
#[test]
fn nothing_before_the_proxys_own_entry_counts() {
    let mut dice = Dice::new();
    for round in 0..20_000 {
        let (header, name) = &HEADERS[round % 2];
        let proxies = proxies(*header);
        let (node, expected) = *dice.pick(&[
            ("192.0.2.9", "192.0.2.9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("192.0.2.9:80", "192.0.2.9"),
            ("192.0.2.9:99999", "unknown"),
            ("unknown", "unknown"),
            ("_gazonk", "unknown"),
        ]);
        let mut lines = vec![];
        for _ in 0..dice.between(0, 3) {
            lines.push(claim(&mut dice));
        }
        let mut last = "10.0.0.1".to_owned();
        append(&mut dice, *header, &mut lines, node);
        for hop in 0..dice.between(0, 3) {
            last = if hop == 0 { "10.0.0.7".to_owned() } else { last };
            append(&mut dice, *header, &mut lines, &format!("10.0.0.{}", 7 + hop));
        }
        let headers: HeaderMap =
            lines.iter().map(|line| (name.clone(), HeaderValue::from_bytes(line).unwrap())).collect();
        let expected = if expected == "unknown" { format!("unknown via {last}") } else { expected.to_owned() };
        let found = proxies.client("10.0.0.1".parse().unwrap(), &headers).to_string();
        assert_eq!(found, expected, "{lines:?}");
    }
}

/// A line that the client writes: bytes that HTTP allows, most of them significant in these headers.
fn claim(dice: &mut Dice) -> Vec<u8> {
    const PIECES: [&[u8]; 16] = [
        b"\"",
        b"\\",
        b",",
        b";",
        b"=",
        b" ",
        b"\t",
        b"for",
        b"for=\"",
        b"10.0.0.9",
        b"192.0.2.1",
        b"[::1]",
        b"\x80",
        b"\xff",
        b"unknown",
        b"x",
    ];
    (0..dice.between(0, 12)).flat_map(|_| dice.pick(&PIECES).to_vec()).collect::<Vec<_>>().trim_ascii().to_vec()
}

/// Appends the entry of a proxy, to the last line or in a line of its own.
fn append(dice: &mut Dice, header: ClientAddressHeader, lines: &mut Vec<Vec<u8>>, node: &str) {
    let entry = match header {
        ClientAddressHeader::XForwardedFor => node.to_owned(),
        ClientAddressHeader::Forwarded => {
            let before = *dice.pick(&["", "proto=https;", "by=\"_a,\\\"b\";"]);
            let after = *dice.pick(&["", ";host=\"a, b\"", ";by=_x"]);
            format!("{before}for=\"{node}\"{after}")
        }
    };
    match lines.last_mut() {
        Some(line) if dice.between(0, 2) == 0 => {
            line.extend([dice.pick(&[",", ", "]).as_bytes(), entry.as_bytes()].concat())
        }
        _ => lines.push(entry.into_bytes()),
    }
}
