//! Personal fields: encrypted under the key of a person, and erased with it.

use kit::{ClockAndRng, audit::AuditEntry, audit::Personal, keyring::Keyring};
use kit_data::{
    audit::{Reader, RecordQuery},
    store::Location,
};
use uuid::Uuid;

use super::{Process, letter};
use crate::databases::on_both;

on_both!(
    erased_person_leaves_the_chain_valid,
    personal_fields_are_encrypted_in_the_database,
    key_file_encrypts_the_keys_of_persons,
);

const ADDRESS: &str = "ada@example.org";

fn about(person: Uuid) -> AuditEntry {
    AuditEntry::new(format!("users/{person}")).person(person).email(ADDRESS)
}

fn with_email() -> Option<Personal> {
    Some(Personal { email: ADDRESS.to_owned(), ..Personal::default() })
}

async fn erased_person_leaves_the_chain_valid(location: &Location) {
    let process = Process::start(location).await;
    let (ada, bob) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for person in [ada, ada, bob] {
        process.record(about(person)).await;
    }
    let head = process.sealer.seal().await.unwrap();
    process.erase(ada).await;
    process.record(about(ada)).await;
    process.sealer.seal().await.unwrap();
    let records = process.list("").await;
    let personal: Vec<_> = records.iter().map(|record| (record.personal.clone(), record.is_erased)).collect();
    let expected = [(None, true), (None, true), (with_email(), false), (None, false)];
    assert_eq!(personal, expected, "a later record has no personal fields");
    assert_eq!(records[0].facts.target, format!("users/{ada}"), "the rest stays");
    assert_eq!(process.verify(Some(&head)).await.unwrap().records, 4);
}

async fn personal_fields_are_encrypted_in_the_database(location: &Location) {
    let process = Process::start(location).await;
    process.record(about(Uuid::from_u128(1))).await;
    assert_eq!(process.list("").await[0].personal, with_email());
    // The encrypted fields of one record are not those of another one.
    process.record(about(Uuid::from_u128(1)).email("bob@example.org")).await;
    process
        .tamper("UPDATE audit_events SET personal = (SELECT personal FROM audit_events ORDER BY event_id LIMIT 1)")
        .await;
    let read = process.reader().await.list(&RecordQuery::new("", false, 10).unwrap()).await;
    assert!(read.is_err(), "{read:?}");
}

async fn key_file_encrypts_the_keys_of_persons(location: &Location) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.key");
    kit::secret_file::write_new(&path, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let keys = Keyring::read(&path).unwrap();
    let process = Process::with(location, keys.clone()).await;
    process.record(about(Uuid::from_u128(1))).await;
    let query = RecordQuery::new("", false, 10).unwrap();
    let mut with_file = Reader::connect(location, "letters", keys).await.unwrap();
    assert_eq!(with_file.list(&query).await.unwrap()[0].personal, with_email());
    let without = process.reader().await.list(&query).await.unwrap_err();
    assert!(kit::error::chain(&without).contains("audit.key_file"), "{without}");
    // A process without the file does not write a record that it cannot encrypt.
    let lacking = Process::start(location).await;
    let refusal = about(Uuid::from_u128(1)).by_system("a.B/C", &ClockAndRng::system());
    kit::audit::RefusalLog::refused(&lacking.log, refusal);
    assert!(lacking.log.store_refusals().await.is_err());
    // It seals other records nevertheless.
    lacking.record(letter(1)).await;
    lacking.sealer.finish().await;
    assert_eq!(lacking.verify(None).await.unwrap().records, 2);
}
