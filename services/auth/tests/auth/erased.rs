//! A deleted account leaves no data in SQLite's files.

use std::{path::Path, time::Duration};

use kit::config::Span;
use kit_data::store::{Location, Settings};

use crate::{
    databases::Database,
    store::{at, id, pending, session, token},
};

/// Whether one of the database's files contains the text.
fn is_in_files(path: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter_map(|file| std::fs::read(file).ok())
        .any(|bytes| bytes.windows(text.len()).any(|w| w == text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_address_is_erased_from_sqlite_files() {
    let database = Database::sqlite();
    let Location::Sqlite(path) = &database.location else { panic!("a file") };
    let mut settings = Settings::from(1);
    settings.database.purge_interval = Span(Duration::from_secs(1));
    let store = auth::store::open(&database.location, settings).await.unwrap();
    let address = "ada.lovelace@example.org";
    let account = pending(address);
    store.insert(&account).await.unwrap();
    let opened = session(&account, &token());
    assert!(store.activate(&opened, 0).await.unwrap());
    assert!(is_in_files(path, address), "the address is stored in the clear");
    store.delete_account(&account, opened.id, at(1), id()).await.unwrap().ended().expect("the account is deleted");
    let gone = async {
        while is_in_files(path, address) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the address leaves the files");
}
