//! Changes that wait for the row of a conversation or of a user, on PostgreSQL: the second change sees the effects of
//! the first.

use std::{sync::Arc, time::Duration};

use kit::ClockAndRng;
use messaging::{
    domain::{AddPolicy, AddRule, Change, Details},
    store::{AdmitError, AppendError, ChangeError, Changed},
};

use crate::{
    admission::{Store, accept, add, contacts, invitations, is_not_allowed, membership_kind},
    changes::{bounds, by, new_message, open, people, room, send_text},
    databases::Database,
    locks::{LOCK_CONVERSATION, in_turn},
    locks_support::Holder,
};

pub(crate) const LOCK_PERSON: &str = "SELECT 1 FROM people WHERE user_id = $1 FOR UPDATE";

#[tokio::test(flavor = "multi_thread")]
async fn block_and_rule_apply_to_waiting_additions() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    for blocks in [true, false] {
        let [ada, bob] = people();
        let group = room(&store, ada, &[]).await;
        room(&store, bob, &[ada]).await;
        let (deciding, adding) = (Arc::clone(&store), Arc::clone(&store));
        let first = async move {
            if blocks {
                deciding.block(bob, ada, ClockAndRng::system().now(), 10).await.unwrap();
            } else {
                deciding.set_rule(bob, Some(AddRule::NoOne)).await.unwrap();
            }
        };
        let behind = async move { add(&adding, group, ada, bob).await };
        let ((), refused) = in_turn(&database.location, (LOCK_PERSON, &[bob.0]), first, behind).await;
        assert!(is_not_allowed(&refused), "{refused:?}");
        assert_eq!(membership_kind(&store, group, bob).await, None);
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_member_cannot_add_or_invite() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob, eve] = people();
    let id = room(&store, ada, &[bob]).await;
    for (person, admission) in [(eve, bounds(100)), (eve, contacts(100)), (bob, bounds(100))] {
        let (removing, adding) = (Arc::clone(&store), Arc::clone(&store));
        let first = async move { removing.remove(by(ada, id), bob).await.unwrap() };
        let behind = async move { adding.add(by(bob, id), person, &admission).await };
        let (_, refused) = in_turn(&database.location, (LOCK_CONVERSATION, &[id.0]), first, behind).await;
        assert!(matches!(refused, Err(ChangeError::NotFound)), "{refused:?}");
        assert_eq!(store.find(id, ada).await.unwrap().unwrap().member_count, 1);
        assert_eq!(invitations(&store, person).await, []);
        store.add(by(ada, id), bob, &bounds(100)).await.unwrap();
    }
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_invitation_is_not_accepted() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob] = people();
    let id = room(&store, ada, &[]).await;
    assert_eq!(add(&store, id, ada, bob).await.unwrap(), Changed::Invited);
    let (taking, accepting) = (Arc::clone(&store), Arc::clone(&store));
    let first = async move { taking.remove(by(ada, id), bob).await.unwrap() };
    let behind = async move { accept(&accepting, id, bob).await };
    let (_, refused) = in_turn(&database.location, (LOCK_CONVERSATION, &[id.0]), first, behind).await;
    assert!(matches!(refused, Err(ChangeError::NoInvitation)), "{refused:?}");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_applies_to_waiting_additions() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob, eve] = people();
    let id = room(&store, ada, &[bob]).await;
    let (deciding, adding) = (Arc::clone(&store), Arc::clone(&store));
    let owners = Details { title: None, add_policy: Some(AddPolicy::OwnerOnly) };
    let first = async move { deciding.update(by(ada, id), &owners).await.unwrap() };
    let behind = async move { adding.add(by(bob, id), eve, &bounds(100)).await };
    let (_, refused) = in_turn(&database.location, (LOCK_CONVERSATION, &[id.0]), first, behind).await;
    assert!(matches!(refused, Err(ChangeError::NotOwner)), "{refused:?}");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn last_place_goes_to_the_first_in_the_queue() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob] = people();
    let rooms = [room(&store, ada, &[]).await, room(&store, ada, &[]).await];
    room(&store, bob, &[]).await;
    let [adding, behind] = rooms.map(|id| {
        let store = Arc::clone(&store);
        async move { store.add(by(ada, id), bob, &bounds(1)).await }
    });
    let (added, refused) = in_turn(&database.location, (LOCK_PERSON, &[bob.0]), adding, behind).await;
    assert_eq!(added.unwrap(), Changed::Now(2));
    assert!(matches!(refused, Err(ChangeError::Admit(AdmitError::TooManyConversations))), "{refused:?}");
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_changes_of_a_blocked_user_write_nothing() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob, eve] = people();
    let id = room(&store, ada, &[bob]).await;
    let sent = send_text(&store, id, bob, "hello").await;
    let changes: [fn(Store, _, _, _) -> _; 4] = [
        |store: Store, id, bob, _| {
            Box::pin(async move {
                store.append(&new_message(id, bob, "again")).await.is_err_and(|e| matches!(e, AppendError::NotAccepted))
            }) as futures_util::future::BoxFuture<'static, bool>
        },
        |store, id, bob, (sent, _)| Box::pin(async move { is_refused(store.edit(by(bob, id), sent, "other").await) }),
        |store, id, bob, _| {
            Box::pin(async move { is_refused(store.update(by(bob, id), &Details::titled("look here")).await) })
        },
        |store, id, bob, (_, eve)| Box::pin(async move { is_refused(store.add(by(bob, id), eve, &bounds(100)).await) }),
    ];
    for change in changes {
        // The change waits for the conversation's row while Ada blocks Bob.
        let mut holder = Holder::begin(&database.location, "messaging").await;
        holder.run(LOCK_CONVERSATION, &[id.0]).await;
        let changing = tokio::spawn(change(Arc::clone(&store), id, bob, (sent.id, eve)));
        holder.waiters(1).await;
        store.block(ada, bob, ClockAndRng::system().now(), 10).await.unwrap();
        holder.release().await;
        assert!(changing.await.unwrap());
        store.unblock(ada, bob).await.unwrap();
    }
    assert_eq!(store.head(id, ada).await.unwrap(), Some(2), "nothing was written");
    database.remove().await;
}

fn is_refused(outcome: Result<Changed, ChangeError>) -> bool {
    matches!(outcome, Err(ChangeError::NotAccepted))
}

/// By the inviter's clock Bob's older invitation has expired; by his own clock he accepts it. Each transaction holds a
/// row that the other one needs.
#[tokio::test(flavor = "multi_thread")]
async fn invitation_and_acceptance_do_not_wait_for_each_other() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob] = people();
    let (accepted, group) = (room(&store, ada, &[]).await, room(&store, ada, &[]).await);
    assert_eq!(add(&store, accepted, ada, bob).await.unwrap(), Changed::Invited);
    let (inviting, accepting) = (Arc::clone(&store), Arc::clone(&store));
    let later = Change { now: by(ada, group).now + Duration::from_secs(2 * 60 * 60), ..by(ada, group) };
    let first = async move { inviting.add(later, bob, &contacts(100)).await };
    let behind = async move { accept(&accepting, accepted, bob).await };
    let (invited, joined) = in_turn(&database.location, (LOCK_PERSON, &[bob.0]), first, behind).await;
    assert_eq!((invited.unwrap(), joined.unwrap()), (Changed::Invited, Changed::Now(2)));
    assert_eq!(invitations(&store, bob).await, [group]);
    assert!(membership_kind(&store, accepted, bob).await.is_some());
    database.remove().await;
}

/// The removal of Ada deletes her expired invitation while she invites the same user to another conversation.
#[tokio::test(flavor = "multi_thread")]
async fn invitation_and_removal_do_not_wait_for_each_other() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let [ada, bob, eve] = people();
    let (left, group) = (room(&store, eve, &[ada]).await, room(&store, ada, &[]).await);
    assert_eq!(add(&store, left, ada, bob).await.unwrap(), Changed::Invited);
    let (inviting, removing) = (Arc::clone(&store), Arc::clone(&store));
    let later = Change { now: by(ada, group).now + Duration::from_secs(2 * 60 * 60), ..by(ada, group) };
    let first = async move { inviting.add(later, bob, &contacts(100)).await };
    let behind = async move { removing.remove(by(eve, left), ada).await };
    let (invited, removed) = in_turn(&database.location, (LOCK_PERSON, &[ada.0]), first, behind).await;
    assert_eq!((invited.unwrap(), removed.unwrap()), (Changed::Invited, Changed::Now(2)));
    database.remove().await;
}
