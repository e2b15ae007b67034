use super::*;
use crate::config::Argon2Config;

const PASSWORD: &str = "gr\u{fc}ner Apfel 1";

/// Made with Python's hashlib and with the C library's crypt; the Argon2 hash is that of its reference implementation.
const VECTORS: &[(&str, &str)] = &[
    (PASSWORD, "$2b$05$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu"),
    (PASSWORD, "bcrypt$$2b$05$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu"),
    (PASSWORD, "$scrypt$ln=10,r=8,p=2$MDEyMzQ1Njc4OWFiY2RlZg$ZRPtR5z0BfSu6LLbiXsMcHfO+78N5SIrTtDHz7WCnH8"),
    (PASSWORD, "$pbkdf2-sha1$i=1000,l=20$MDEyMzQ1Njc4OWFiY2RlZg$W756Kvfd4VV4NokU8MHbs7dSN3Y"),
    (PASSWORD, "$pbkdf2$1000$MDEyMzQ1Njc4OWFiY2RlZg$W756Kvfd4VV4NokU8MHbs7dSN3Y"),
    (PASSWORD, "pbkdf2_sha1$1000$NaClSalt1234$AKJhCiC4FEa9vZBSnYoozigzzpo="),
    (PASSWORD, "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$NtT2xZhL9eH0UuSvQ4MUVmVRzjbw31bBd/HgwLQmnsA"),
    (PASSWORD, "pbkdf2_sha256$1000$NaClSalt1234$XLvu2YCdjBq2as8NMW53VcQG8owTqA1jStjph3JzUxU="),
    (
        PASSWORD,
        "$pbkdf2-sha512$1000$MDEyMzQ1Njc4OWFiY2RlZg$ksuzGN691zC3/3Z2iR81ibGtmejWVI0KbFMd0t49aK4Jof/cFMSS6iwofVBcReo6nnSx\
         iTKsgH9.FMCFAWlPCQ",
    ),
    ("password", "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG"),
    ("password", "argon2$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG"),
];

#[test]
fn hashes_of_other_programs_are_verified() {
    for (password, hash) in VECTORS {
        let stored = Stored::parse(hash).unwrap_or_else(|why| panic!("{hash}: {why}"));
        assert!(stored.matches(password.as_bytes(), b""), "{hash}");
        assert!(!stored.matches(b"another password", b""), "{hash}");
    }
}

#[test]
fn incomplete_hash_is_refused_without_its_content() {
    for bad in [
        "",
        "secret",
        "$1$secretsa$secret",
        "$2b$05$secret",
        "$2x$05$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu",
        "$2b$32$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu",
        "$2b$05$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofq*",
        "$scrypt$ln=10,r=8$MDEyMzQ1Njc4OWFiY2RlZg$ZRPtR5z0BfSu6LLbiXsMcHfO+78N5SIrTtDHz7WCnH8",
        "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$secret",
        "$pbkdf2-md5$1000$MDEyMzQ1Njc4OWFiY2RlZg$W756Kvfd4VV4NokU8MHbs7dSN3Y",
        "$pbkdf2-sha256$0$MDEyMzQ1Njc4OWFiY2RlZg$NtT2xZhL9eH0UuSvQ4MUVmVRzjbw31bBd/HgwLQmnsA",
        "$pbkdf2-sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg$",
        "$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ",
        "$argon2id$v=18$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b3dWRfJTmaaJObG",
    ] {
        let why = Stored::parse(bad).err().unwrap_or_else(|| panic!("{bad} is no hash")).to_string();
        assert!(!why.contains("secret") && !why.contains('\n'), "{why}");
    }
}

#[test]
fn hash_that_would_occupy_the_machine_is_refused() {
    let salt_and_hash = "c29tZXNhbHQ$RdescudvJCsgt3ub+b3dWRfJTmaaJObG";
    for costly in [
        "$2b$31$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu".to_owned(),
        format!("$argon2id$v=19$m=4294967295,t=1,p=1${salt_and_hash}"),
        format!("$argon2id$v=19$m=65536,t=4294967295,p=1${salt_and_hash}"),
        format!("$scrypt$ln=30,r=32768,p=32768${salt_and_hash}"),
        format!("$pbkdf2-sha256$i=4294967295${salt_and_hash}"),
    ] {
        let refused = Stored::parse(&costly).err();
        assert!(matches!(refused, Some(Unusable::TooLong(_))), "{costly}: {refused:?}");
    }
    // The first recommendation of RFC 9106, section 4; OWASP's of the other algorithms.
    for (bearable, memory_kib) in [
        (format!("$argon2id$v=19$m=2097152,t=1,p=4${salt_and_hash}"), 2_097_152),
        (format!("$scrypt$ln=17,r=8,p=1${salt_and_hash}"), 131_072),
        (format!("$pbkdf2-sha256$i=600000${salt_and_hash}"), 1),
        ("$2b$14$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu".to_owned(), 4),
    ] {
        let stored = Stored::parse(&bearable).unwrap_or_else(|why| panic!("{bearable}: {why}"));
        assert_eq!(stored.cost().memory_kib, memory_kib, "{bearable}");
    }
}

#[test]
fn password_matches_with_its_pepper_only() {
    let mut peppers = crate::keys::Peppers::default();
    let now = kit::Timestamp::from_micros(0);
    peppers.rotate([1; 32], now, true).unwrap();
    let pepper = peppers.current().unwrap();
    let cost = Argon2Config { memory_kib: 64, passes: 1, lanes: 1 };
    let text = hash(PASSWORD.as_bytes(), &[7; 16], cost, Some(pepper));
    assert!(text.starts_with(&prefix(cost, Some(pepper))), "{text}");
    assert!(text.starts_with("$argon2id$v=19$m=64,t=1,p=1,keyid=") && text.contains(pepper.id()), "{text}");
    let stored = Stored::parse(&text).unwrap();
    assert_eq!(stored.pepper(), Some(pepper.id()));
    assert!(stored.matches(PASSWORD.as_bytes(), pepper.secret()));
    for other in [&b""[..], &[2; 32]] {
        assert!(!stored.matches(PASSWORD.as_bytes(), other));
    }
    let plain = hash(PASSWORD.as_bytes(), &[7; 16], cost, None);
    assert!(plain.starts_with(&prefix(cost, None)), "{plain}");
    assert_eq!(Stored::parse(&plain).unwrap().pepper(), None);
}

/// Of 80 times the letter x.
const LONG: &str = "$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";

/// The only part of bcrypt that is not the hash of the whole password.
#[test]
fn bcrypt_reads_72_bytes_as_its_authors_do() {
    let stored = Stored::parse(LONG).unwrap();
    assert!(stored.matches("x".repeat(80).as_bytes(), b""));
    assert!(stored.matches("x".repeat(72).as_bytes(), b""));
    assert!(!stored.matches("x".repeat(71).as_bytes(), b""));
}
