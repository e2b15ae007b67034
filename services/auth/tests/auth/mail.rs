//! Mails and the links in them: each works once, for its owner only, and survives the end of the process.

use std::{sync::Arc, time::Duration};

use auth::{
    config::{MailConfig, MailboxMode},
    domain::{
        Account, AccountId, EmailAddress, KeptMail, Language, MailDetails, MailKind, MailToken, NewLink, NewMail, Page,
        PasswordHash, State, TokenHash,
    },
    store::{AuthStore, EmailChange, Refreshed},
};
use kit::ClockAndRng;
use kit_data::store::Location;
use proto::auth::v1::{ListMailboxRequest, RequestPasswordResetRequest, ResetPasswordRequest, SignUpRequest};
use tonic::{Code, Status};

use crate::{
    database::execute,
    databases::{Database, on_both},
    locks_support::Holder,
    mesh::{Mesh, PASSWORD, eventually, reason, sign_up},
    store::{active, at, id, open, refresh, session, successor, token},
};

on_both!(
    password_is_reset_once_and_all_sessions_end,
    link_is_used_once_by_eight_at_once,
    reset_needs_the_address_of_the_link,
    mail_survives_the_end_of_the_process,
    mailbox_keeps_the_newest_mails,
    deletion_erases_mails_and_links,
    new_password_ends_a_requested_change_of_address,
);

pub(crate) const NEW: &str = "another good password";

/// A configuration with a mailbox.
pub(crate) fn mailing() -> auth::Config {
    let mail = MailConfig {
        mailbox: MailboxMode::On,
        base_url: "https://chat.example.org".to_owned(),
        ..MailConfig::default()
    };
    auth::Config { mail, ..auth::Config::default() }
}

/// Waits until the mailbox has `count` mails to the user, and returns the newest.
pub(crate) async fn newest_mail(mesh: &Mesh, handle: &str, count: usize) -> KeptMail {
    let recipient = format!("{handle}@example.org");
    let to = async || {
        let mut mails = mesh.store.list_mailbox(100).await.unwrap();
        mails.retain(|mail| mail.recipient == recipient);
        mails
    };
    eventually("the mail is in the mailbox", async || to().await.len() >= count).await;
    let mails = to().await;
    assert_eq!(mails.len(), count, "{mails:?}");
    mails.into_iter().next().unwrap()
}

/// Waits for a mail to the user with a link to this page, and returns the token of the newest.
pub(crate) async fn link_to(mesh: &Mesh, handle: &str, page: &str) -> String {
    let recipient = format!("{handle}@example.org");
    let find = async || {
        let mails = mesh.store.list_mailbox(100).await.unwrap();
        mails.into_iter().find(|mail| mail.recipient == recipient && mail.text.contains(page))
    };
    eventually("the mail is in the mailbox", async || find().await.is_some()).await;
    token_in(&find().await.unwrap(), page)
}

/// The token of the link in a mail.
pub(crate) fn token_in(mail: &KeptMail, page: &str) -> String {
    let start = format!("https://chat.example.org/#/{page}/");
    let line = mail.text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no link to {page}: {}", mail.text)).to_owned()
}

pub(crate) async fn request_reset(mesh: &mut Mesh, email: &str) -> Result<(), Status> {
    let request = RequestPasswordResetRequest { email: email.to_owned() };
    mesh.auth.request_password_reset(request).await.map(drop)
}

pub(crate) async fn reset(mesh: &mut Mesh, token: &str, password: &str) -> Result<(), Status> {
    let request = ResetPasswordRequest { token: token.to_owned(), new_password: password.to_owned() };
    mesh.auth.reset_password(request).await.map(drop)
}

async fn password_is_reset_once_and_all_sessions_end(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    let tokens = mesh.signed_up("ada").await;
    mesh.signed_up("bob").await;
    request_reset(&mut mesh, " Ada@Example.org").await.unwrap();
    let link = link_to(&mesh, "ada", "reset-password").await;

    let refused = reset(&mut mesh, &link, "short").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "a bad password does not use the link up");
    reset(&mut mesh, &link, NEW).await.unwrap();
    let again = reset(&mut mesh, &link, "a third good password").await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::FailedPrecondition, "LINK_INVALID"));

    let session = tokens.session_id.parse().unwrap();
    tokio::time::timeout(Duration::from_secs(5), mesh.keys.revoked(session)).await.unwrap();
    assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "BAD_CREDENTIALS");
    mesh.signed_in("ada", NEW).await.unwrap();
    mesh.signed_in("bob", PASSWORD).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn link_expires_and_a_new_password_ends_it() {
    let mut mesh = Mesh::with(mailing()).await;
    let tokens = mesh.signed_up("ada").await;
    request_reset(&mut mesh, "ada@example.org").await.unwrap();
    let old = link_to(&mesh, "ada", "reset-password").await;
    mesh.clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(reason(&reset(&mut mesh, &old, NEW).await.unwrap_err()), "LINK_INVALID");

    request_reset(&mut mesh, "ada@example.org").await.unwrap();
    newest_mail(&mesh, "ada", 3).await;
    let link = link_to(&mesh, "ada", "reset-password").await;
    assert_ne!(link, old);
    let tokens = {
        let request = proto::auth::v1::RefreshTokenRequest { refresh_token: tokens.refresh_token };
        mesh.auth.refresh_token(request).await.unwrap().into_inner().tokens.unwrap()
    };
    let change = proto::auth::v1::ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "changed by its owner".to_owned(),
    };
    mesh.auth.change_password(crate::mesh::by(&tokens, change)).await.unwrap();
    assert_eq!(reason(&reset(&mut mesh, &link, NEW).await.unwrap_err()), "LINK_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_knows_the_names_of_the_user() {
    let mut mesh = Mesh::with(mailing()).await;
    let request = SignUpRequest { display_name: "Countess Lovelace".to_owned(), ..sign_up("ada") };
    mesh.auth.sign_up(request).await.unwrap();
    request_reset(&mut mesh, "ada@example.org").await.unwrap();
    let link = link_to(&mesh, "ada", "reset-password").await;
    let refused = reset(&mut mesh, &link, "Lovelace, Countess 1815").await.unwrap_err();
    assert_eq!(reason(&refused), "PASSWORD_TOO_WEAK");
    mesh.stop_users().await;
    reset(&mut mesh, &link, NEW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_before_a_reset_do_not_keep_the_owner_out() {
    let mut mesh = Mesh::with(mailing()).await;
    mesh.signed_up("ada").await;
    request_reset(&mut mesh, "ada@example.org").await.unwrap();
    let link = link_to(&mesh, "ada", "reset-password").await;
    for expected in ["BAD_CREDENTIALS", "RATE_LIMITED"] {
        for _ in 0..10 {
            let refused = mesh.signed_in("ada", "a forgotten password").await.unwrap_err();
            assert_eq!(reason(&refused), expected);
        }
    }
    reset(&mut mesh, &link, NEW).await.unwrap();
    mesh.signed_in("ada", NEW).await.unwrap();
    for _ in 0..9 {
        assert_eq!(reason(&mesh.signed_in("ada", PASSWORD).await.unwrap_err()), "BAD_CREDENTIALS");
    }
    assert_eq!(reason(&mesh.signed_in("ada", NEW).await.unwrap_err()), "RATE_LIMITED", "new attempts count");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_address_gets_the_same_response_and_no_mail() {
    let mut mesh = Mesh::with(mailing()).await;
    mesh.signed_up("ada").await;
    for email in ["unknown@example.org", "no address", "ada@example.org"] {
        request_reset(&mut mesh, email).await.unwrap();
    }
    link_to(&mesh, "ada", "reset-password").await;
    eventually("no job is left", async || crate::database::waiting(&mesh.location()).await == 0).await;
    assert_eq!(mesh.store.list_mailbox(9).await.unwrap().len(), 2, "the mail of the sign-up, and that of the reset");
    // The limit does not depend on the account either.
    for email in ["unknown@example.org", "ada@example.org"] {
        for _ in 0..4 {
            request_reset(&mut mesh, email).await.unwrap();
        }
        assert_eq!(reason(&request_reset(&mut mesh, email).await.unwrap_err()), "RATE_LIMITED", "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mailbox_opens_with_its_key_only() {
    let mut mesh = Mesh::with(mailing()).await;
    mesh.signed_up("ada").await;
    newest_mail(&mesh, "ada", 1).await;
    let key = mesh.mailbox_key();
    let list = |key: &str| ListMailboxRequest { key: key.to_owned(), page_size: 0 };
    let mails = mesh.auth.list_mailbox(list(&key)).await.unwrap().into_inner().mails;
    assert_eq!(mails.iter().map(|mail| mail.recipient.as_str()).collect::<Vec<_>>(), ["ada@example.org"]);
    let refused = mesh.auth.list_mailbox(list("another")).await.unwrap_err();
    assert_eq!(reason(&refused), "MAILBOX_KEY_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_without_mail_refuses_the_flows() {
    let mut mesh = Mesh::start().await;
    mesh.signed_up("ada").await;
    for email in ["ada@example.org", "unknown@example.org"] {
        let refused = request_reset(&mut mesh, email).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "MAIL_DISABLED"));
    }
    let list = ListMailboxRequest { key: mesh.mailbox_key(), page_size: 0 };
    assert_eq!(reason(&mesh.auth.list_mailbox(list).await.unwrap_err()), "MAILBOX_KEY_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_in_the_language_of_the_requester() {
    let mut mesh = Mesh::with(mailing()).await;
    mesh.signed_up("ada").await;
    let mut request = tonic::Request::new(RequestPasswordResetRequest { email: "ada@example.org".to_owned() });
    request.metadata_mut().insert("accept-language", "de-AT,en;q=0.5".parse().unwrap());
    newest_mail(&mesh, "ada", 1).await;
    mesh.clock.advance(Duration::from_secs(1));
    mesh.auth.request_password_reset(request).await.unwrap();
    assert_eq!(newest_mail(&mesh, "ada", 2).await.subject, "Neues Passwort setzen");
}

fn mail_to(account: &Account) -> NewMail {
    NewMail {
        id: id(),
        kind: MailKind::PasswordReset,
        account: None,
        recipient: Some(account.email.clone()),
        language: Language::default(),
        details: MailDetails::default(),
        create_time: at(1),
    }
}

/// Stores a link to the account's address, until second 100.
async fn link(store: &dyn AuthStore, account: &Account) -> TokenHash {
    let mail = mail_to(account);
    store.queue_mails(std::slice::from_ref(&mail)).await.unwrap();
    let stored = store.find_mail(mail.id).await.unwrap().unwrap();
    let hash = MailToken::generate(&ClockAndRng::system()).hash();
    let link = NewLink { hash: hash.clone(), sealed: vec![1], expire_time: at(100) };
    assert!(store.add_link(&stored, &link).await.unwrap());
    let stored = store.find_mail(mail.id).await.unwrap().unwrap();
    assert_eq!((stored.account, stored.sealed_token), (Some(account.id), Some(vec![1])));
    hash
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash(text.to_owned())
}

async fn sessions(store: &dyn AuthStore, account: AccountId) -> usize {
    store.list_sessions(account, &Page::parse(0, "", account).unwrap(), at(2)).await.unwrap().len()
}

async fn link_is_used_once_by_eight_at_once(location: &Location) {
    let store = open(location).await;
    let (ada, first) = active(&*store, "ada@example.org").await;
    let (link, other) = (link(&*store, &ada).await, link(&*store, &ada).await);
    let uses: Vec<_> = (0..8)
        .map(|n| {
            let (store, link) = (Arc::clone(&store), link.clone());
            tokio::spawn(async move { store.reset_password(&link, &hash(&n.to_string()), None, at(2)).await.unwrap() })
        })
        .collect();
    let mut ended = Vec::new();
    for each in uses {
        ended.extend(each.await.unwrap());
    }
    assert_eq!(ended.len(), 1, "one use ended the one session");
    assert_eq!(sessions(&*store, ada.id).await, 0);
    assert_eq!(refresh(&*store, &first, &successor(), 2).await, Refreshed::Refused);
    assert_eq!(store.find(ada.id).await.unwrap().unwrap().password_no, 1);
    assert_eq!(store.reset_password(&other, &hash("x"), None, at(2)).await.unwrap(), None, "its other links are gone");
    // A sign-in that verified the old password opens no session.
    assert!(!store.open_session(&session(&ada, &token())).await.unwrap());
}

async fn reset_needs_the_address_of_the_link(location: &Location) {
    let store = open(location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let link = link(&*store, &ada).await;
    assert_eq!(store.reset_password(&link, &hash("x"), None, at(100)).await.unwrap(), None, "it has expired");
    execute(location, "UPDATE accounts SET email = 'new@example.org'").await;
    assert_eq!(store.reset_password(&link, &hash("x"), None, at(2)).await.unwrap(), None, "the address has changed");
    execute(location, "UPDATE accounts SET email = 'ada@example.org'").await;
    assert!(
        store.find_link(&link, MailKind::PasswordReset, at(2)).await.unwrap().is_some(),
        "a refusal uses up nothing"
    );
    assert!(store.reset_password(&link, &hash("x"), None, at(2)).await.unwrap().is_some());
    let stranger = store.find(ada.id).await.unwrap().unwrap();
    let mail = mail_to(&Account { email: auth::domain::EmailAddress::lookup("unknown@example.org"), ..stranger });
    store.queue_mails(std::slice::from_ref(&mail)).await.unwrap();
    let stored = store.find_mail(mail.id).await.unwrap().unwrap();
    let new = NewLink { hash: token(), sealed: vec![1], expire_time: at(100) };
    assert!(!store.add_link(&stored, &new).await.unwrap());
}

/// The process ends between the transaction of the request and the delivery.
async fn mail_survives_the_end_of_the_process(location: &Location) {
    let mut mesh = Mesh::mailing_on(location, mailing()).await;
    mesh.signed_up("ada").await;
    newest_mail(&mesh, "ada", 1).await;
    mesh.kill_auth();
    let ada = mesh.store.find_by_email(&auth::domain::EmailAddress::lookup("ada@example.org")).await.unwrap().unwrap();
    let create_time = mesh.now();
    mesh.store.queue_mails(&[NewMail { create_time, ..mail_to(&ada) }]).await.unwrap();
    mesh.start_auth().await;
    let link = link_to(&mesh, "ada", "reset-password").await;
    reset(&mut mesh, &link, NEW).await.unwrap();
    mesh.signed_in("ada", NEW).await.unwrap();
}

async fn mailbox_keeps_the_newest_mails(location: &Location) {
    let store = open(location).await;
    let mail = |n: i64| KeptMail {
        id: id(),
        recipient: "ada@example.org".to_owned(),
        subject: n.to_string(),
        text: String::new(),
        create_time: at(n),
    };
    for n in 0..5 {
        let mail = mail(n);
        store.keep_mail(&mail, 3).await.unwrap();
        store.keep_mail(&mail, 3).await.unwrap();
    }
    let subjects: Vec<_> = store.list_mailbox(9).await.unwrap().into_iter().map(|mail| mail.subject).collect();
    assert_eq!(subjects, ["4", "3", "2"]);
    assert_eq!(store.list_mailbox(1).await.unwrap().len(), 1);
}

async fn deletion_erases_mails_and_links(location: &Location) {
    let store = open(location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let own = session(&ada, &token());
    assert!(store.open_session(&own).await.unwrap());
    let link = link(&*store, &ada).await;
    assert!(store.delete_account(&ada, own.id, at(2), id()).await.unwrap().is_some());
    assert_eq!(store.find_link(&link, MailKind::PasswordReset, at(2)).await.unwrap(), None);
    assert_eq!(store.prune_mail(at(1_000), at(1_000), 10).await.unwrap(), 0, "nothing is left");
    let (bob, _) = active(&*store, "bob@example.org").await;
    self::link(&*store, &bob).await;
    assert_eq!(
        store.prune_mail(at(50), at(1), 10).await.unwrap(),
        0,
        "neither has the link expired nor is the mail old"
    );
    let prune = async |now, before| store.prune_mail(at(now), at(before), 10).await.unwrap();
    assert_eq!([prune(101, 1).await, prune(101, 2).await, prune(101, 2).await], [1, 1, 0]);
}

/// The mail that confirms a new address of an account.
pub(crate) fn change_to(email: &str, account: AccountId) -> NewMail {
    NewMail {
        id: id(),
        kind: MailKind::EmailChange,
        account: Some(account),
        recipient: Some(EmailAddress::lookup(email)),
        language: Language::default(),
        details: MailDetails::default(),
        create_time: at(1),
    }
}

/// Two changes were requested with the old password: the link of one was sent, the mail of the other one is queued.
async fn new_password_ends_a_requested_change_of_address(location: &Location) {
    let store = open(location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let own = session(&ada, &token());
    assert!(store.open_session(&own).await.unwrap());
    let [sent, waits] = ["sent@example.org", "waits@example.org"].map(|email| change_to(email, ada.id));
    let mails = [sent.clone(), waits.clone()];
    assert!(store.queue_email_change(&ada, own.id, &mails, at(1)).await.unwrap());
    let new_link = || NewLink { hash: token(), sealed: vec![1], expire_time: at(100) };
    let read = store.find_mail(sent.id).await.unwrap().unwrap();
    let link = new_link();
    assert!(store.add_link(&read, &link).await.unwrap());
    let read = store.find_mail(waits.id).await.unwrap().unwrap();

    assert!(store.change_password(&ada, &hash("new"), own.id, None, at(2)).await.unwrap().is_some());
    for mail in [&sent, &waits] {
        assert!(store.find_mail(mail.id).await.unwrap().is_none(), "it is not sent any more");
    }
    let late = new_link();
    assert!(!store.add_link(&read, &late).await.unwrap(), "a job that has read the mail adds no link");
    for link in [&link, &late] {
        let confirmed = store.confirm_email(&link.hash, &change_to("undo@example.org", ada.id), at(3)).await.unwrap();
        assert_eq!(confirmed, EmailChange::Invalid);
    }
    let again = change_to("again@example.org", ada.id);
    let again = std::slice::from_ref(&again);
    assert!(!store.queue_email_change(&ada, own.id, again, at(3)).await.unwrap(), "the password has changed");
    let ada = store.find(ada.id).await.unwrap().unwrap();
    assert!(store.revoke_session(ada.id, own.id, at(3)).await.unwrap());
    assert!(!store.queue_email_change(&ada, own.id, again, at(4)).await.unwrap(), "the session has ended");
}

/// Another transaction holds the account's row: of two uses of one link that wait for it, one succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn second_use_behind_the_first_finds_no_link() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let link = link(&*store, &ada).await;
    let mut holder = Holder::begin(&database.location, "auth").await;
    holder.run("SELECT 1 FROM accounts WHERE account_id = $1 FOR UPDATE", &[ada.id.0]).await;
    let reset = |text: &'static str| {
        let (store, link) = (Arc::clone(&store), link.clone());
        tokio::spawn(async move { store.reset_password(&link, &hash(text), None, at(2)).await.unwrap().is_some() })
    };
    let first = reset("first");
    holder.waiters(1).await;
    let second = reset("second");
    holder.waiters(2).await;
    holder.release().await;
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (true, false));
    assert_eq!(store.find(ada.id).await.unwrap().unwrap().password, hash("first"));
    drop(store);
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_behind_a_deletion_changes_nothing() {
    let database = Database::postgres().await;
    let store = open(&database.location).await;
    let (ada, _) = active(&*store, "ada@example.org").await;
    let own = session(&ada, &token());
    assert!(store.open_session(&own).await.unwrap());
    let link = link(&*store, &ada).await;
    let mut holder = Holder::begin(&database.location, "auth").await;
    holder.run("SELECT 1 FROM accounts WHERE account_id = $1 FOR UPDATE", &[ada.id.0]).await;
    let (of, account) = (Arc::clone(&store), ada.clone());
    let deleting = tokio::spawn(async move { of.delete_account(&account, own.id, at(2), id()).await.unwrap() });
    holder.waiters(1).await;
    let of = Arc::clone(&store);
    let resetting = tokio::spawn(async move { of.reset_password(&link, &hash("new"), None, at(2)).await.unwrap() });
    holder.waiters(2).await;
    holder.release().await;
    assert!(deleting.await.unwrap().is_some());
    assert_eq!(resetting.await.unwrap(), None);
    let left = store.find(ada.id).await.unwrap().unwrap();
    assert_eq!((left.state, left.password.0.as_str()), (State::Deleted, ""));
    drop(store);
    database.remove().await;
}
