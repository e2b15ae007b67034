//! Changes and reads concurrent with a removal, on PostgreSQL. A change that waits for the conversation's row behind
//! the removal of its actor fails and writes nothing.

use std::sync::Arc;

use kit_data::store::Location;
use messaging::{
    MessagingStore,
    domain::{Body, ConversationId, Details, Entry, Message, UserId},
    store::{AdmitError, AppendError, ChangeError, Changed},
};
use uuid::Uuid;

use crate::{
    changes::{bounds, by, new_message, open, people, room, send_text},
    databases::Database,
    locks_support::Holder,
};

pub(crate) const LOCK_CONVERSATION: &str = "SELECT 1 FROM conversations WHERE conversation_id = $1 FOR UPDATE";
const LOCK_MEMBER: &str = "SELECT 1 FROM members WHERE conversation_id = $1 AND user_id = $2 FOR UPDATE";

/// A conversation of its owner Ada, of Bob, the author of a message, and of Eve. Kim is not a member.
#[derive(Clone)]
struct Scene {
    store: Arc<dyn MessagingStore>,
    id: ConversationId,
    ada: UserId,
    bob: UserId,
    eve: UserId,
    kim: UserId,
    sent: Message,
}

impl Scene {
    async fn new(location: &Location) -> Self {
        let (store, [ada, bob, eve, kim]) = (open(location).await, people());
        let id = room(&store, ada, &[bob, eve]).await;
        let sent = send_text(&store, id, bob, "hello").await;
        Self { store, id, ada, bob, eve, kim, sent }
    }

    /// The log that Eve sees, who remains a member.
    async fn log(&self) -> Vec<Entry> {
        self.store.list_entries(self.id, self.eve, 0, 1_000).await.unwrap()
    }
}

/// Holds the row in another transaction while `first` and then `behind` wait for it. Returns both results.
pub(crate) async fn in_turn<A: Send + 'static, B: Send + 'static>(
    location: &Location,
    (lock, row): (&'static str, &[Uuid]),
    first: impl Future<Output = A> + Send + 'static,
    behind: impl Future<Output = B> + Send + 'static,
) -> (A, B) {
    let mut holder = Holder::begin(location, "messaging").await;
    holder.run(lock, row).await;
    let first = tokio::spawn(first);
    holder.waiters(1).await;
    let behind = tokio::spawn(behind);
    holder.waiters(2).await;
    holder.release().await;
    (first.await.unwrap(), behind.await.unwrap())
}

/// Queues the removal of `actor` by `remover`, and `change` behind it. Checks that only the removal has an effect.
async fn refused_behind_a_removal<F>(
    remover: fn(&Scene) -> UserId,
    actor: fn(&Scene) -> UserId,
    change: impl FnOnce(Scene) -> F,
) where
    F: Future<Output = Result<(), ChangeError>> + Send + 'static,
{
    let database = Database::postgres().await;
    let scene = Scene::new(&database.location).await;
    let (remover, actor) = (remover(&scene), actor(&scene));
    let before = scene.log().await;
    let (store, removal) = (Arc::clone(&scene.store), by(remover, scene.id));
    let removing = async move { store.remove(removal, actor).await };
    let row = (LOCK_CONVERSATION, &[scene.id.0][..]);
    let (removed, refused) = in_turn(&database.location, row, removing, change(scene.clone())).await;
    assert_eq!(removed.unwrap(), Changed::Now(3));
    assert!(matches!(refused, Err(ChangeError::NotFound)), "{refused:?}");

    let after = scene.log().await;
    assert_eq!(after[..2], before[..], "the log before the removal has not changed");
    assert!(matches!(&after[2..], [Entry { body: Body::Removed { person, .. }, .. }] if *person == actor), "{after:?}");
    let seen = scene.store.find(scene.id, scene.eve).await.unwrap().unwrap();
    assert_eq!((seen.last_seq, seen.message_count, seen.title.as_str()), (3, 1, "Tea"));
    let inside = |user| seen.members.iter().any(|member| member.user == user);
    assert!(!inside(actor) && !inside(scene.kim), "{:?}", seen.members);
    assert_eq!(scene.store.heads(scene.kim).await.unwrap(), []);
    // A refused message does not claim its client id.
    let mut sessions = Holder::begin(&database.location, "messaging").await;
    sessions.run("SELECT 1 FROM client_messages HAVING count(*) = 1", &[]).await;
    drop((sessions, scene));
    database.remove().await;
}

fn ada(scene: &Scene) -> UserId {
    scene.ada
}

fn bob(scene: &Scene) -> UserId {
    scene.bob
}

#[tokio::test(flavor = "multi_thread")]
async fn send_behind_a_removal_is_refused() {
    refused_behind_a_removal(ada, bob, |scene| async move {
        match scene.store.append(&new_message(scene.id, scene.bob, "still here")).await {
            Err(AppendError::NotFound) => Err(ChangeError::NotFound),
            other => panic!("{other:?}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_behind_a_removal_is_refused() {
    refused_behind_a_removal(ada, bob, |scene| async move {
        scene.store.edit(by(scene.bob, scene.id), scene.sent.id, "other").await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erasure_behind_a_removal_is_refused() {
    refused_behind_a_removal(ada, bob, |scene| async move {
        scene.store.erase(by(scene.bob, scene.id), scene.sent.id).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_behind_a_removal_is_refused() {
    refused_behind_a_removal(ada, bob, |scene| async move {
        scene.store.update(by(scene.bob, scene.id), &Details::titled("Coffee")).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_member_cannot_add_himself_back() {
    refused_behind_a_removal(ada, bob, |scene| async move {
        scene.store.add(by(scene.bob, scene.id), scene.bob, &bounds(100)).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_member_cannot_add_others() {
    refused_behind_a_removal(ada, bob, |scene| async move {
        scene.store.add(by(scene.bob, scene.id), scene.kim, &bounds(100)).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_behind_a_removal_changes_nothing() {
    refused_behind_a_removal(ada, bob, |scene| async move {
        scene.store.remove(by(scene.bob, scene.id), scene.bob).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn former_owner_cannot_remove_members() {
    refused_behind_a_removal(ada, ada, |scene| async move {
        scene.store.remove(by(scene.ada, scene.id), scene.bob).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn former_owner_cannot_erase_messages() {
    refused_behind_a_removal(ada, ada, |scene| async move {
        scene.store.erase(by(scene.ada, scene.id), scene.sent.id).await.map(drop)
    })
    .await;
}

/// A read mark is a column of the member's row, so that row's lock decides.
#[tokio::test(flavor = "multi_thread")]
async fn read_mark_behind_a_removal_is_refused() {
    let database = Database::postgres().await;
    let scene = Scene::new(&database.location).await;
    let (one, two) = (scene.clone(), scene.clone());
    let removing = async move { one.store.remove(by(one.ada, one.id), one.eve).await };
    let marking = async move { two.store.mark_read(two.id, two.eve, 1).await };
    let row = (LOCK_MEMBER, &[scene.id.0, scene.eve.0][..]);
    let (removed, marked) = in_turn(&database.location, row, removing, marking).await;
    assert_eq!((removed.unwrap(), marked.unwrap()), (Changed::Now(3), None));
    let marks = scene.store.read_marks(scene.id, scene.ada).await.unwrap();
    assert!(marks.iter().all(|(member, _)| *member != scene.eve), "{marks:?}");
    drop(scene);
    database.remove().await;
}

/// A new member can send, although the statement began to wait before the addition.
#[tokio::test(flavor = "multi_thread")]
async fn send_behind_an_addition_is_accepted() {
    let database = Database::postgres().await;
    let scene = Scene::new(&database.location).await;
    let (one, two) = (scene.clone(), scene.clone());
    let adding = async move { one.store.add(by(one.ada, one.id), one.kim, &bounds(100)).await };
    let sending = async move { two.store.append(&new_message(two.id, two.kim, "thanks")).await };
    let row = (LOCK_CONVERSATION, &[scene.id.0][..]);
    let (added, sent) = in_turn(&database.location, row, adding, sending).await;
    assert_eq!((added.unwrap(), sent.unwrap().entry.seq), (Changed::Now(3), 4));
    drop(scene);
    database.remove().await;
}

/// The account is deleted while the addition waits: the user is in no conversation afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn addition_behind_the_deletion_of_the_account_is_refused() {
    let database = Database::postgres().await;
    let scene = Scene::new(&database.location).await;
    let mut holder = Holder::begin(&database.location, "messaging").await;
    holder.run(LOCK_CONVERSATION, &[scene.id.0]).await;
    let adding = scene.clone();
    let adding =
        tokio::spawn(async move { adding.store.add(by(adding.ada, adding.id), adding.kim, &bounds(100)).await });
    holder.waiters(1).await;
    // The same steps as DeleteMember, which finds no conversation to leave.
    scene.store.bar(scene.kim, kit::Timestamp::from_micros(0)).await.unwrap();
    assert_eq!(scene.store.heads(scene.kim).await.unwrap(), []);
    holder.release().await;
    let refused = adding.await.unwrap();
    assert!(matches!(refused, Err(ChangeError::Admit(AdmitError::MemberUnknown))), "{refused:?}");
    assert_eq!(scene.store.heads(scene.kim).await.unwrap(), []);
    drop(scene);
    database.remove().await;
}

/// The second statement of a read waits, and the reader is removed before it starts.
#[tokio::test(flavor = "multi_thread")]
async fn conversation_left_between_two_statements_is_not_shown() {
    let database = Database::postgres().await;
    let scene = Scene::new(&database.location).await;
    let mut holder = Holder::begin(&database.location, "messaging").await;
    holder.lock_table("entries").await;
    let reading = scene.clone();
    let reading = tokio::spawn(async move { reading.store.find(reading.id, reading.bob).await });
    holder.waiters(1).await;
    holder.run("DELETE FROM members WHERE conversation_id = $1 AND user_id = $2", &[scene.id.0, scene.bob.0]).await;
    holder.release().await;
    assert_eq!(reading.await.unwrap().unwrap(), None);
    drop(scene);
    database.remove().await;
}
