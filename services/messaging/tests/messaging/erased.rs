//! SQLite's files contain no erased text.

use std::{path::Path, time::Duration};

use kit::config::Span;
use kit_data::store::{Location, Settings};
use messaging::domain::{Change, ConversationId, NewConversation, NewMessage, Quotas, UserId};

use crate::{bench::MOMENT, changes::bounds, databases::Database};

/// Whether one of the database's files holds the text.
fn is_in_files(path: &Path, text: &str) -> bool {
    let folder = path.parent().unwrap();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter_map(|file| std::fs::read(file).ok())
        .any(|bytes| bytes.windows(text.len()).any(|w| w == text.as_bytes()))
}

async fn eventually_gone(path: &Path, text: &str) {
    let waiting = async {
        while is_in_files(path, text) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(MOMENT, waiting).await.unwrap_or_else(|_| panic!("{text} is still in the files"));
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_text_leaves_sqlite_files() {
    let clock_rng = kit::ClockAndRng::system();
    let database = Database::sqlite();
    let Location::Sqlite(path) = &database.location else { panic!("a file") };
    let mut settings = Settings::from(1);
    settings.database.purge_interval = Span(Duration::from_secs(1));
    let store = messaging::store::open(&database.location, settings, Quotas::default()).await.unwrap();
    let author = UserId(clock_rng.new_id());
    let room = NewConversation {
        id: ConversationId(clock_rng.new_id()),
        creator: author,
        request_id: clock_rng.new_id(),
        members: vec![author],
        title: String::new(),
        create_time: clock_rng.now(),
    };
    store.insert(&room, &bounds(10)).await.unwrap();
    // One text that fits into its row's page, and one that needs overflow pages.
    let texts = ["the password is swordfish".to_owned(), "abracadabra ".repeat(1_000)];
    for text in &texts {
        let message = NewMessage {
            conversation: room.id,
            author,
            id: clock_rng.new_id(),
            client_id: clock_rng.new_id(),
            text: text.clone(),
            create_time: clock_rng.now(),
        };
        store.append(&message).await.unwrap();
        let change = Change { conversation: room.id, actor: author, revision: None, now: clock_rng.now() };
        store.edit(change, message.id, &format!("{text}!")).await.unwrap();
        assert!(is_in_files(path, &text[..24]), "the text is stored as plain bytes");
        store.erase(change, message.id).await.unwrap();
    }
    for text in &texts {
        eventually_gone(path, &text[..24]).await;
    }
}
