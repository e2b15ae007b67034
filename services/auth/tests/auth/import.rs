//! The import of accounts of another service.

use std::{sync::Arc, time::Duration};

use auth::{
    AuthStore,
    domain::EmailAddress,
    import::{BadLine, Counts, Import, ImportError, Observer},
};
use kit::{ClockAndRng, Timestamp, keyring::Keyring};
use kit_data::{
    audit::{Reader, RecordQuery},
    store::Location,
};
use proto::auth::v1::SignInRequest;

use crate::{
    database,
    databases::on_both,
    mesh::{Mesh, PASSWORD, eventually, reason, sign_in},
    messaging::Messaging,
    store::open,
};

on_both!(import_is_repeatable_and_reports_bad_lines, imported_users_sign_in_and_have_profiles);

/// Hashes of "grüner Apfel 1".
const OLD: &str = "gr\u{fc}ner Apfel 1";
const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu";
const SCRYPT: &str = "$scrypt$ln=10,r=8,p=2$MDEyMzQ1Njc4OWFiY2RlZg$ZRPtR5z0BfSu6LLbiXsMcHfO+78N5SIrTtDHz7WCnH8";
const DJANGO: &str = "pbkdf2_sha256$1000$NaClSalt1234$XLvu2YCdjBq2as8NMW53VcQG8owTqA1jStjph3JzUxU=";

#[derive(Default)]
struct Seen(Vec<BadLine>);

impl Observer for Seen {
    fn bad_line(&mut self, line: &BadLine) {
        self.0.push(line.clone());
    }

    fn progress(&mut self, _: Counts) {}
}

async fn import(store: &Arc<dyn AuthStore>, file: &str, is_dry: bool) -> (Counts, Vec<(u64, String, String)>) {
    let mut seen = Seen::default();
    let config = auth::Config::default();
    let import = Import::new(&config, Arc::clone(store), ClockAndRng::system(), is_dry, &mut seen);
    let counts = import.run(file.as_bytes()).await.unwrap();
    (counts, seen.0.into_iter().map(|bad| (bad.line, bad.field, bad.reason)).collect())
}

fn email(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

async fn import_is_repeatable_and_reports_bad_lines(location: &Location) {
    let store = open(location).await;
    let bad_lines = [
        r#"{"email": "no address", "hash": "HASH"}"#,
        r#"{"email": "bob@example.org", "hash": "secret"}"#,
        r#"{"email": "bob@example.org", "hash": "HASH", "handle": "Bob!"}"#,
        r#"{"email": "bob@example.org", "hash": "HASH", "display_name": "a\nb"}"#,
        r#"{"email": "bob@example.org", "hash": "HASH", "created": "yesterday"}"#,
        r#"{"email": "bob@example.org", "hash": "HASH", "created": "2999-01-01T00:00:00Z"}"#,
        r#"{"email": "bob@example.org", "hash": "HASH", "secret": "1"}"#,
        r#"{"email": "bob@example.org""#,
        r#"{"email": "ADA@example.org", "hash": "HASH"}"#,
        r#"{"email": "bob@example.org", "hash": "$2b$31$abcdefghijklmnopqrstuuRzxDu7Ehsegd8FKLhMotLPsiAvgofqu"}"#,
        r#"{"email": "bob@example.org", "hash": "HASH", "verified": "secret"}"#,
        r#"{"email": 1, "hash": "secret"}"#,
        r#"{"email": "bob@example.org"}"#,
        r#"{"email": "secret@example.org", "email": "bob@example.org", "hash": "HASH"}"#,
    ];
    let mut file = vec![
        r#"{"email": "ada@example.org", "hash": "HASH", "handle": "ada", "verified": true, "created": "2020-02-29T12:00:00Z"}"#
            .to_owned(),
        String::new(),
    ];
    file.extend(bad_lines.map(str::to_owned));
    file.extend((0..250).map(|n| format!(r#"{{"email": "user{n}@example.org", "hash": "HASH", "handle": null}}"#)));
    let file = file.join("\n").replace("HASH", BCRYPT);
    let fields = [
        "email",
        "hash",
        "handle",
        "display_name",
        "created",
        "created",
        "",
        "",
        "email",
        "hash",
        "verified",
        "email",
        "hash",
        "",
    ];
    let counts = |imported, present| Counts { lines: 265, imported, present, bad: 14 };
    for (is_dry, expected) in
        [(true, counts(251, 0)), (false, counts(251, 0)), (false, counts(0, 251)), (true, counts(0, 251))]
    {
        let (counted, bad) = import(&store, &file, is_dry).await;
        assert_eq!(counted, expected, "dry: {is_dry}");
        assert_eq!(bad.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), (3..=16).collect::<Vec<_>>());
        assert_eq!(bad.iter().map(|(_, field, _)| field.as_str()).collect::<Vec<_>>(), fields, "{bad:?}");
        let reasons: Vec<_> = bad.iter().map(|(.., reason)| reason.as_str()).collect();
        assert!(reasons[8].contains("line 1"), "{reasons:?}");
        assert!(!reasons.iter().any(|reason| reason.is_empty() || reason.contains("secret")), "{reasons:?}");
    }
    let mut audit = Reader::connect(location, "auth", Keyring::default()).await.unwrap();
    let query = RecordQuery::new("action = \"auth.import\" principal_kind = system", false, 1).unwrap();
    assert_eq!(audit.count(&query).await.unwrap(), 251, "each new account has its record");
    let ada = store.find_by_email(&email("ada@example.org")).await.unwrap().unwrap();
    assert_eq!((ada.create_time, ada.password.0.as_str()), (Timestamp::from_micros(1_582_977_600_000_000), BCRYPT));
    assert!(store.find_email(ada.id).await.unwrap().unwrap().verify_time.is_some());
    let user = store.find_by_email(&email("user0@example.org")).await.unwrap().unwrap();
    assert_eq!(store.find_email(user.id).await.unwrap().unwrap().verify_time, None);
    let jobs = database::jobs(location).await;
    assert_eq!(jobs.len(), 251);
    assert!(jobs.contains(&("account.imported".to_owned(), ada.id.0)));
    assert_eq!([store.count_hashes(None).await.unwrap(), store.count_peppered().await.unwrap()], [251, 0]);
}

async fn imported_users_sign_in_and_have_profiles(location: &Location) {
    let mut mesh = Mesh::on(location, Messaging::new(0)).await;
    mesh.signed_up("taken").await;
    let csv = format!(
        "email,hash,handle,display_name,verified\r\nada@example.org,{BCRYPT},ada,Ada Lovelace,true\r\nbob@example.org,\"{SCRYPT}\",taken,\
         \"Bob, the Builder\",false\r\neve@example.org,{DJANGO},,,\r\nbroken@example.org\r\n"
    );
    let (counts, bad) = import(&mesh.store, &csv, false).await;
    assert_eq!((counts.imported, counts.bad, bad[0].0), (3, 1, 5), "{bad:?}");
    // The jobs are due by the clock of the command.
    mesh.clock.advance(Duration::from_secs(60));
    for handle in ["ada", "bob", "eve"] {
        let refused = mesh.auth.sign_in(sign_in(handle, "another password")).await.unwrap_err();
        assert_eq!(reason(&refused), "BAD_CREDENTIALS");
        for _ in 0..2 {
            // Decomposed first, as macOS sends it: the other service hashed the composed form.
            let password = OLD.replace('\u{fc}', "u\u{308}");
            mesh.auth.sign_in(SignInRequest { password, ..sign_in(handle, OLD) }).await.unwrap();
            let account = mesh.store.find_by_email(&email(&format!("{handle}@example.org"))).await.unwrap().unwrap();
            assert!(account.password.0.starts_with("$argon2id$"), "{}", account.password.0);
        }
    }
    mesh.signed_in("taken", PASSWORD).await.unwrap();
    let users = mesh.users_store().await;
    for (handle, of, name) in
        [("ada", "ada", Some("Ada Lovelace")), ("taken_2", "bob", Some("Bob, the Builder")), ("user_", "eve", None)]
    {
        let account = mesh.store.find_by_email(&email(&format!("{of}@example.org"))).await.unwrap().unwrap();
        let find = || async { users.find(users::domain::UserId(account.id.0)).await.unwrap() };
        eventually("the profile exists", || async { find().await.is_some() }).await;
        let profile = find().await.unwrap();
        assert!(profile.handle.starts_with(handle), "{}", profile.handle);
        assert_eq!(profile.display_name, name.map_or(profile.handle.clone(), str::to_owned));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_of_another_format_is_refused() {
    let mesh = Mesh::start().await;
    let (config, mut seen) = (auth::Config::default(), Seen::default());
    for (file, expected) in [
        ("", "the columns email and hash are required"),
        ("email,password\na@example.org,x\n", "line 1: column 2 has an unknown name"),
        ("email,hash,email\n", "the column email is there twice"),
        ("hash,handle\nx,y\n", "the columns email and hash are required"),
    ] {
        let import = Import::new(&config, Arc::clone(&mesh.store), ClockAndRng::system(), false, &mut seen);
        let refused = import.run(file.as_bytes()).await.unwrap_err();
        assert!(matches!(refused, ImportError::Format(_)) && refused.to_string().contains(expected), "{refused}");
    }
}
