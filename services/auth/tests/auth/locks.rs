//! Changes that wait for the row lock of an account or a session, on PostgreSQL: they see the row as it is after the
//! wait.

use std::{pin::Pin, sync::Arc, time::Duration};

use auth::{
    domain::{Account, AccountId, EmailAddress, MailKind, NewLink, PasswordHash, SessionId, State, TokenHash},
    store::{AuthStore, EmailChange, Refreshed},
};

use crate::{
    databases::{Database, patient},
    locks_support::Holder,
    mail::change_to,
    store::{RULES, active, at, client, id, open, pending, session, successor, token},
};

type BoxFuture = Pin<Box<dyn Future<Output = Option<()>> + Send>>;

const LOCK_ACCOUNT: &str = "SELECT 1 FROM accounts WHERE account_id = $1 FOR UPDATE";
const LOCK_SESSIONS: &str = "SELECT 1 FROM sessions WHERE account_id = $1 FOR UPDATE";

/// An active account with a session and its token.
#[derive(Clone)]
struct Scene {
    store: Arc<dyn AuthStore>,
    account: Account,
    session: SessionId,
    token: TokenHash,
}

impl Scene {
    async fn new(database: &Database) -> Self {
        let store = open(&database.location).await;
        let (account, token) = active(&*store, "ada@example.org").await;
        let account = Account { state: State::Active, ..account };
        let page = auth::domain::Page::parse(0, "", account.id).unwrap();
        let session = store.list_sessions(account.id, &page, at(1)).await.unwrap()[0].id;
        Self { store, account, session, token }
    }

    async fn refresh(self) -> Refreshed {
        self.store.refresh(&self.token, &successor(), &client("later"), at(5), RULES).await.unwrap()
    }

    async fn delete(self) -> Option<Vec<SessionId>> {
        self.store.delete_account(&self.account, self.session, at(5), id()).await.unwrap()
    }
}

/// Queues the deletion of the account behind `lock`, and `change` behind the deletion.
async fn behind_a_deletion<T, F>(lock: &'static str, change: impl FnOnce(Scene) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let database = Database::postgres().await;
    let scene = Scene::new(&database).await;
    let mut holder = Holder::begin(&database.location, "auth").await;
    holder.run(lock, &[scene.account.id.0]).await;
    let deleting = tokio::spawn(scene.clone().delete());
    holder.waiters(1).await;
    let changing = tokio::spawn(change(scene.clone()));
    holder.waiters(2).await;
    holder.release().await;
    assert_eq!(deleting.await.unwrap().map(|ended| ended.len()), Some(1));
    let outcome = changing.await.unwrap();
    let left = scene.store.find(scene.account.id).await.unwrap().unwrap();
    assert_eq!(
        (left.state, left.email, left.password.0.as_str()),
        (State::Deleted, EmailAddress::deleted(scene.account.id), "")
    );
    let page = auth::domain::Page::parse(0, "", scene.account.id).unwrap();
    assert_eq!(scene.store.list_sessions(scene.account.id, &page, at(6)).await.unwrap().len(), 0);
    drop(scene);
    database.remove().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_behind_a_deletion_opens_no_session() {
    let opened = behind_a_deletion(LOCK_ACCOUNT, |scene| async move {
        scene.store.open_session(&session(&scene.account, &token())).await.unwrap()
    })
    .await;
    assert!(!opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_behind_a_deletion_is_refused() {
    let refreshed = behind_a_deletion(LOCK_SESSIONS, Scene::refresh).await;
    assert!(matches!(refreshed, Refreshed::Refused), "{refreshed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_password_behind_a_deletion_is_refused() {
    let changed = behind_a_deletion(LOCK_ACCOUNT, |scene| async move {
        let keep = scene.session;
        scene.store.change_password(&scene.account, &PasswordHash("new".to_owned()), keep, None, at(6)).await.unwrap()
    })
    .await;
    assert_eq!(changed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_of_address_behind_a_deletion_is_refused() {
    let queued = behind_a_deletion(LOCK_ACCOUNT, |scene| async move {
        let mail = change_to("new@example.org", scene.account.id);
        let mails = std::slice::from_ref(&mail);
        let queued = scene.store.queue_email_change(&scene.account, scene.session, mails, at(6)).await.unwrap();
        (queued, scene.store.find_mail(mail.id).await.unwrap().is_some())
    })
    .await;
    assert_eq!(queued, (false, false));
}

/// The job has read the queued mail before the owner sets a new password, and stores its link afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn link_behind_a_new_password_is_not_stored() {
    let database = Database::postgres().await;
    let Scene { store, account, session, .. } = Scene::new(&database).await;
    let mail = change_to("new@example.org", account.id);
    assert!(store.queue_email_change(&account, session, std::slice::from_ref(&mail), at(5)).await.unwrap());
    let stored = store.find_mail(mail.id).await.unwrap().unwrap();
    let mut holder = Holder::begin(&database.location, "auth").await;
    holder.run(LOCK_ACCOUNT, &[account.id.0]).await;
    let of = Arc::clone(&store);
    let changing = tokio::spawn(async move {
        of.change_password(&account, &PasswordHash("new".to_owned()), session, None, at(6)).await.unwrap()
    });
    holder.waiters(1).await;
    let (of, hash) = (Arc::clone(&store), token());
    let link = NewLink { hash: hash.clone(), sealed: vec![1], expire_time: at(100) };
    let linking = tokio::spawn(async move { of.add_link(&stored, &link).await.unwrap() });
    holder.waiters(2).await;
    holder.release().await;
    assert!(changing.await.unwrap().is_some());
    assert!(!linking.await.unwrap());
    assert_eq!(store.find_link(&hash, MailKind::EmailChange, at(7)).await.unwrap(), None);
    assert!(store.find_mail(mail.id).await.unwrap().is_none());
    drop(store);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rehash_behind_a_deletion_stores_nothing() {
    behind_a_deletion(LOCK_ACCOUNT, |scene| async move {
        let new = PasswordHash("stronger".to_owned());
        scene.store.rehash(scene.account.id, &scene.account.password, &new).await.unwrap();
    })
    .await;
}

/// A sign-in renews the hash of the old password while the owner changes it: the change counts.
#[tokio::test(flavor = "multi_thread")]
async fn rehash_behind_a_new_password_stores_nothing() {
    let database = Database::postgres().await;
    let scene = Scene::new(&database).await;
    let [new, renewed] = ["new", "renewed"].map(|text| PasswordHash(text.to_owned()));
    for change_first in [true, false] {
        let account = scene.store.find(scene.account.id).await.unwrap().unwrap();
        let new = PasswordHash(format!("{} {change_first}", new.0));
        let mut holder = Holder::begin(&database.location, "auth").await;
        holder.run(LOCK_ACCOUNT, &[account.id.0]).await;
        let (of, keep, changed, before) = (Arc::clone(&scene.store), scene.session, new.clone(), account.clone());
        let change = async move { of.change_password(&before, &changed, keep, None, at(6)).await.unwrap().map(drop) };
        let (of, renewed) = (Arc::clone(&scene.store), renewed.clone());
        let rehash = async move { of.rehash(account.id, &account.password, &renewed).await.map(|()| None).unwrap() };
        let (change, rehash): (BoxFuture, BoxFuture) = (Box::pin(change), Box::pin(rehash));
        let (first, second) = if change_first { (change, rehash) } else { (rehash, change) };
        let first = tokio::spawn(first);
        holder.waiters(1).await;
        let second = tokio::spawn(second);
        holder.waiters(2).await;
        holder.release().await;
        let outcomes = [first.await.unwrap(), second.await.unwrap()];
        assert!(outcomes.contains(&Some(())), "the change of the password succeeds");
        assert_eq!(scene.store.find(scene.account.id).await.unwrap().unwrap().password, new);
    }
    drop(scene);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_deletion_behind_the_first_does_nothing() {
    assert_eq!(behind_a_deletion(LOCK_ACCOUNT, Scene::delete).await, None);
}

/// The account's state is read by a statement that starts after the session's row is locked.
#[tokio::test(flavor = "multi_thread")]
async fn refresh_sees_the_account_as_it_is_after_the_wait() {
    let database = Database::postgres().await;
    let scene = Scene::new(&database).await;
    let mut holder = Holder::begin(&database.location, "auth").await;
    holder.run(LOCK_SESSIONS, &[scene.account.id.0]).await;
    let refreshing = tokio::spawn(scene.clone().refresh());
    holder.waiters(1).await;
    holder.run("UPDATE accounts SET state = 'suspended' WHERE account_id = $1", &[scene.account.id.0]).await;
    holder.release().await;
    let refreshed = refreshing.await.unwrap();
    assert!(matches!(refreshed, Refreshed::Refused), "{refreshed:?}");
    drop(scene);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_up_ends_once_activated_or_abandoned() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    for abandoned_first in [true, false] {
        let account = pending(&format!("{abandoned_first}@example.org"));
        store.insert(&account).await.unwrap();
        let mut holder = Holder::begin(&database.location, "auth").await;
        holder.run(LOCK_ACCOUNT, &[account.id.0]).await;
        let (of, new) = (Arc::clone(&store), session(&account, &token()));
        let activate = async move { of.activate(&new, 0).await.unwrap() };
        let (of, id_of) = (Arc::clone(&store), account.id);
        let abandon = async move { of.abandon(id_of, at(1), at(2), id()).await.unwrap() };
        let (activated, abandoned) = if abandoned_first {
            let abandoning = tokio::spawn(abandon);
            holder.waiters(1).await;
            let activating = tokio::spawn(activate);
            holder.waiters(2).await;
            holder.release().await;
            (activating.await.unwrap(), abandoning.await.unwrap())
        } else {
            let activating = tokio::spawn(activate);
            holder.waiters(1).await;
            let abandoning = tokio::spawn(abandon);
            holder.waiters(2).await;
            holder.release().await;
            (activating.await.unwrap(), abandoning.await.unwrap())
        };
        assert_eq!((activated, abandoned), (!abandoned_first, abandoned_first));
        assert_eq!(store.find(account.id).await.unwrap().is_some(), !abandoned_first);
    }
    drop(store);
    database.remove().await;
}

/// Another transaction has locked the account's row. Of twelve repeats of the sign-up, only two hold a connection.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_sign_ups_of_a_locked_account_do_not_block_others() {
    let database = Database::postgres().await;
    // A pool of four connections.
    let store = auth::store::open(&database.location, patient(4)).await.unwrap();
    let (ada, bob) = (pending("ada@example.org"), pending("bob@example.org"));
    for account in [&ada, &bob] {
        store.insert(account).await.unwrap();
    }
    let mut holder = Holder::begin(&database.location, "auth").await;
    holder.run(LOCK_ACCOUNT, &[ada.id.0]).await;
    let resume = |_| {
        let (store, account) = (Arc::clone(&store), ada.id);
        tokio::spawn(async move { store.resume(account).await.unwrap() })
    };
    let resuming: Vec<_> = (0..12).map(resume).collect();
    holder.waiters(2).await;
    for attempt in 1..=20 {
        let resumed = tokio::time::timeout(Duration::from_secs(2), store.resume(bob.id)).await;
        assert_eq!(resumed.expect("calls for other accounts succeed").unwrap(), Some(attempt));
    }
    holder.waiters(2).await;
    holder.release().await;
    let mut attempts = Vec::new();
    for resumed in resuming {
        attempts.push(resumed.await.unwrap().unwrap());
    }
    attempts.sort_unstable();
    assert!(attempts.into_iter().eq(1..=12));
    drop(store);
    database.remove().await;
}

/// Each of two accounts has a link to the address of the other one, which neither has verified. The first use takes the
/// address from the other account, and ends its link.
#[tokio::test(flavor = "multi_thread")]
async fn crossing_changes_of_addresses_do_not_wait_in_a_circle() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let mut accounts = Vec::new();
    for (own, other) in [("ada@example.org", "bob@example.org"), ("bob@example.org", "ada@example.org")] {
        let (account, _) = active(&*store, own).await;
        accounts.push((account, change_to(other, AccountId(id()))));
    }
    let mut links = Vec::new();
    for (account, mail) in accounts {
        let mail = mail.of(account.id);
        store.queue_mails(std::slice::from_ref(&mail)).await.unwrap();
        let stored = store.find_mail(mail.id).await.unwrap().unwrap();
        let link = NewLink { hash: token(), sealed: vec![1], expire_time: at(100) };
        assert!(store.add_link(&stored, &link).await.unwrap());
        links.push((account.id, link.hash));
    }
    let mut holder = Holder::begin(&database.location, "auth").await;
    for (account, _) in &links {
        holder.run(LOCK_ACCOUNT, &[account.0]).await;
    }
    let mut changes = Vec::new();
    for (number, (_, hash)) in (1..).zip(&links) {
        let (store, hash, undo) = (Arc::clone(&store), hash.clone(), change_to("x@example.org", AccountId(id())));
        changes.push(tokio::spawn(async move { store.confirm_email(&hash, &undo, at(2)).await.unwrap() }));
        holder.waiters(number).await;
    }
    holder.release().await;
    let first = changes.remove(0).await.unwrap();
    let second = changes.remove(0).await.unwrap();
    assert_eq!((first, second), (EmailChange::Changed(Vec::new()), EmailChange::Invalid));
    let address = async |number: usize| store.find_email(links[number].0).await.unwrap().unwrap().address;
    assert_eq!(address(0).await.as_str(), "bob@example.org");
    assert!(!address(1).await.is_real());
    drop(store);
    database.remove().await;
}
