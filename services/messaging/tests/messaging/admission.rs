//! The store's contract for adding users: rules, blocks and bounds hold under concurrency.

use std::{sync::Arc, time::Duration};

use kit::ClockAndRng;
use kit_data::store::Location;
use messaging::{
    MessagingStore,
    domain::{
        AddPolicy, AddRule, Admission, Change, ConversationId, Details, MembershipKind, NewConversation, Recent, UserId,
    },
    store::{AdmitError, ChangeError, Changed, InsertError},
};
use tokio::task::JoinSet;

use crate::{
    changes::{bounds, by, new_id, new_message, open, people, room},
    databases::on_both,
};

on_both! {
    stranger_opens_a_request_and_sends_an_invitation,
    reply_accepts_a_request,
    accepted_conversation_makes_contacts_and_a_request_does_not,
    invitation_is_accepted_once_and_expires,
    invitation_ends_with_the_membership_of_its_sender,
    owner_and_sender_withdraw_an_invitation,
    blocked_user_cannot_add_or_invite,
    closed_rule_refuses_contacts_too,
    owner_only_policy_lets_only_the_owner_add,
    undecided_requests_are_bounded_under_concurrency,
    undecided_invitations_are_bounded_under_concurrency,
    sent_invitations_are_bounded_under_concurrency,
    refused_conversation_stores_nothing,
    deleted_account_cannot_be_invited_or_accept,
}

/// Bounds with the rule that strangers send requests and invitations.
pub(crate) fn contacts(limit: u32) -> Admission {
    Admission { rule: AddRule::Contacts, ..bounds(limit) }
}

pub(crate) fn opening(creator: UserId, others: &[UserId]) -> NewConversation {
    NewConversation {
        id: ConversationId(new_id()),
        creator,
        request_id: new_id(),
        members: NewConversation::all_members(creator, others.iter().copied()),
        title: "Tea".to_owned(),
        create_time: ClockAndRng::system().now(),
    }
}

pub(crate) type Store = Arc<dyn MessagingStore>;

pub(crate) async fn create(store: &Store, creator: UserId, others: &[UserId]) -> Result<ConversationId, InsertError> {
    store.insert(&opening(creator, others), &contacts(100)).await.map(|stored| stored.id)
}

pub(crate) async fn add(
    store: &Store,
    id: ConversationId,
    actor: UserId,
    user: UserId,
) -> Result<Changed, ChangeError> {
    store.add(by(actor, id), user, &contacts(100)).await
}

pub(crate) async fn accept(store: &Store, id: ConversationId, actor: UserId) -> Result<Changed, ChangeError> {
    store.accept(by(actor, id), &contacts(100)).await
}

pub(crate) async fn membership_kind(store: &Store, id: ConversationId, user: UserId) -> Option<MembershipKind> {
    store.find(id, user).await.unwrap().map(|found| found.own.membership_kind)
}

pub(crate) async fn invitations(store: &Store, user: UserId) -> Vec<ConversationId> {
    let page = Recent::parse(100, "").unwrap();
    let found = store.list_invitations(user, page, ClockAndRng::system().now()).await.unwrap();
    found.into_iter().map(|invitation| invitation.conversation).collect()
}

pub(crate) fn is_not_allowed(outcome: &Result<Changed, ChangeError>) -> bool {
    matches!(outcome, Err(ChangeError::Admit(AdmitError::NotAllowed)))
}

async fn stranger_opens_a_request_and_sends_an_invitation(location: &Location) {
    let (store, [ada, bob, eve, kim]) = (open(location).await, people());
    let direct = create(&store, ada, &[bob]).await.unwrap();
    assert_eq!(membership_kind(&store, direct, ada).await, Some(MembershipKind::Own));
    assert_eq!(membership_kind(&store, direct, bob).await, Some(MembershipKind::Requested));
    let found = store.find(direct, bob).await.unwrap().unwrap();
    assert_eq!((found.member_count, found.own.added_by), (2, Some(ada)));
    let group = create(&store, ada, &[bob, eve]).await.unwrap();
    assert_eq!(store.find(group, ada).await.unwrap().unwrap().member_count, 1);
    assert_eq!((membership_kind(&store, group, bob).await, membership_kind(&store, group, eve).await), (None, None));
    assert_eq!(invitations(&store, bob).await, [group]);
    let mut invited = [bob, eve];
    invited.sort();
    assert_eq!(store.invited(group, ada, ClockAndRng::system().now()).await.unwrap(), invited);
    assert_eq!(add(&store, group, ada, kim).await.unwrap(), Changed::Invited);
    assert_eq!(add(&store, group, ada, kim).await.unwrap(), Changed::Invited, "once");
    assert_eq!(invitations(&store, kim).await, [group]);
    // The log has no entry of it.
    assert_eq!(store.list_entries(group, ada, 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.head(group, ada).await.unwrap(), Some(1));
}

async fn reply_accepts_a_request(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = create(&store, ada, &[bob]).await.unwrap();
    store.append(&new_message(id, ada, "hello")).await.unwrap();
    assert_eq!(membership_kind(&store, id, bob).await, Some(MembershipKind::Requested));
    store.append(&new_message(id, bob, "hello")).await.unwrap();
    assert_eq!(membership_kind(&store, id, bob).await, Some(MembershipKind::Own));
    // It counts against Bob's own bound until he leaves.
    let one = Admission { own: 1, ..contacts(100) };
    let refused = store.insert(&opening(bob, &[ada]), &one).await;
    assert!(matches!(refused, Err(InsertError::Admit(AdmitError::TooManyConversations))), "{refused:?}");
    store.remove(by(bob, id), bob).await.unwrap();
    store.insert(&opening(bob, &[ada]), &one).await.unwrap();
}

async fn accepted_conversation_makes_contacts_and_a_request_does_not(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let id = create(&store, ada, &[bob]).await.unwrap();
    let group = create(&store, ada, &[]).await.unwrap();
    assert_eq!(store.contacts(bob, 10).await.unwrap(), []);
    assert_eq!(add(&store, group, ada, bob).await.unwrap(), Changed::Invited);
    assert_eq!(accept(&store, id, bob).await.unwrap(), Changed::Already);
    assert_eq!(store.contacts(bob, 10).await.unwrap(), [ada]);
    let other = create(&store, ada, &[]).await.unwrap();
    assert!(matches!(add(&store, other, ada, bob).await.unwrap(), Changed::Now(2)));
    assert_eq!(membership_kind(&store, other, bob).await, Some(MembershipKind::Added));
}

async fn invitation_is_accepted_once_and_expires(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = create(&store, ada, &[bob, eve]).await.unwrap();
    assert_eq!(accept(&store, id, bob).await.unwrap(), Changed::Now(2));
    assert_eq!(accept(&store, id, bob).await.unwrap(), Changed::Already);
    assert_eq!(invitations(&store, bob).await, []);
    let found = store.find(id, bob).await.unwrap().unwrap();
    assert_eq!((found.member_count, found.own.membership_kind), (2, MembershipKind::Own));
    let late = Change { now: ClockAndRng::system().now() + Duration::from_secs(2 * 60 * 60), ..by(eve, id) };
    let refused = store.accept(late, &contacts(100)).await;
    assert!(matches!(refused, Err(ChangeError::NoInvitation)), "{refused:?}");
    let page = Recent::parse(10, "").unwrap();
    assert_eq!(store.list_invitations(eve, page, late.now).await.unwrap(), []);
    store.decline(by(eve, id)).await.unwrap();
    assert!(matches!(accept(&store, id, eve).await, Err(ChangeError::NoInvitation)));
}

async fn invitation_ends_with_the_membership_of_its_sender(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    assert_eq!(add(&store, id, bob, eve).await.unwrap(), Changed::Invited);
    store.remove(by(ada, id), bob).await.unwrap();
    assert_eq!(invitations(&store, eve).await, []);
    assert!(matches!(accept(&store, id, eve).await, Err(ChangeError::NoInvitation)));
}

async fn owner_and_sender_withdraw_an_invitation(location: &Location) {
    let (store, [ada, bob, eve, kim]) = (open(location).await, people());
    let id = room(&store, ada, &[bob, kim]).await;
    for who in [bob, ada] {
        assert_eq!(add(&store, id, bob, eve).await.unwrap(), Changed::Invited);
        assert!(matches!(store.remove(by(kim, id), eve).await, Err(ChangeError::NotOwner)));
        assert_eq!(store.remove(by(who, id), eve).await.unwrap(), Changed::Already);
        assert!(matches!(accept(&store, id, eve).await, Err(ChangeError::NoInvitation)));
    }
}

async fn blocked_user_cannot_add_or_invite(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let (shared, group) = (room(&store, ada, &[bob]).await, create(&store, ada, &[]).await.unwrap());
    store.block(bob, ada, ClockAndRng::system().now(), 10).await.unwrap();
    assert!(is_not_allowed(&add(&store, group, ada, bob).await));
    for others in [vec![bob], vec![bob, UserId(new_id())]] {
        let refused = create(&store, ada, &others).await;
        assert!(matches!(refused, Err(InsertError::Admit(AdmitError::NotAllowed))), "{refused:?}");
    }
    // Both remain in the shared conversation, and Bob may still add Ada.
    assert!(membership_kind(&store, shared, bob).await.is_some());
    create(&store, bob, &[ada]).await.unwrap();
    assert_eq!(store.list_blocked(bob, UserId(uuid::Uuid::nil()), 10).await.unwrap(), [ada]);
    store.unblock(bob, ada).await.unwrap();
    assert!(matches!(add(&store, group, ada, bob).await.unwrap(), Changed::Now(_)));
    let refused = store.block(bob, ada, ClockAndRng::system().now(), 0).await;
    assert!(refused.is_err(), "the bound");
    assert_eq!(store.list_blocked(bob, UserId(uuid::Uuid::nil()), 10).await.unwrap(), []);
}

async fn closed_rule_refuses_contacts_too(location: &Location) {
    let (store, [ada, bob]) = (open(location).await, people());
    let (_, group) = (room(&store, ada, &[bob]).await, create(&store, ada, &[]).await.unwrap());
    store.set_rule(bob, Some(AddRule::NoOne)).await.unwrap();
    assert_eq!(store.find_rule(bob).await.unwrap(), Some(AddRule::NoOne));
    assert!(is_not_allowed(&add(&store, group, ada, bob).await));
    store.set_rule(bob, None).await.unwrap();
    assert_eq!(store.find_rule(bob).await.unwrap(), None);
    assert!(matches!(add(&store, group, ada, bob).await.unwrap(), Changed::Now(_)));
}

async fn owner_only_policy_lets_only_the_owner_add(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let id = room(&store, ada, &[bob]).await;
    let owners = Details { title: None, add_policy: Some(AddPolicy::OwnerOnly) };
    assert!(matches!(store.update(by(bob, id), &owners).await, Err(ChangeError::NotOwner)));
    assert_eq!(store.update(by(ada, id), &owners).await.unwrap(), Changed::Now(2));
    assert_eq!(store.update(by(bob, id), &owners).await.unwrap(), Changed::Already);
    assert_eq!(store.find(id, bob).await.unwrap().unwrap().add_policy, AddPolicy::OwnerOnly);
    assert!(matches!(add(&store, id, bob, eve).await, Err(ChangeError::NotOwner)));
    assert_eq!(add(&store, id, ada, eve).await.unwrap(), Changed::Invited);
}

/// Runs sixteen tasks at once, of which five succeed; the errors of the others match `is_refusal`.
async fn five_of_sixteen<F>(work: impl Fn(usize) -> F, is_refusal: fn(&InsertError) -> bool)
where
    F: Future<Output = Result<(), InsertError>> + Send + 'static,
{
    let mut all = JoinSet::new();
    for n in 0..16 {
        all.spawn(work(n));
    }
    let outcomes = all.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5, "{outcomes:?}");
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(is_refusal), "{outcomes:?}");
}

async fn undecided_requests_are_bounded_under_concurrency(location: &Location) {
    let (store, [popular]) = (open(location).await, people());
    let bounds = Admission { requests: 5, ..contacts(100) };
    let work = |_| {
        let (store, [stranger]) = (Arc::clone(&store), people());
        async move { store.insert(&opening(stranger, &[popular]), &bounds).await.map(drop) }
    };
    five_of_sixteen(work, |error| matches!(error, InsertError::Admit(AdmitError::TooManyWaiting))).await;
    assert_eq!(store.heads(popular).await.unwrap().len(), 5);
    // None of them counts against the user's own bound.
    store.insert(&opening(popular, &[]), &Admission { own: 1, ..bounds }).await.unwrap();
}

async fn undecided_invitations_are_bounded_under_concurrency(location: &Location) {
    let (store, [popular]) = (open(location).await, people());
    let bounds = Admission { invitations: 5, ..contacts(100) };
    let work = |_| {
        let (store, [stranger, other]) = (Arc::clone(&store), people());
        async move { store.insert(&opening(stranger, &[popular, other]), &bounds).await.map(drop) }
    };
    five_of_sixteen(work, |error| matches!(error, InsertError::Admit(AdmitError::TooManyWaiting))).await;
    assert_eq!(invitations(&store, popular).await.len(), 5);
}

async fn sent_invitations_are_bounded_under_concurrency(location: &Location) {
    let (store, [spammer]) = (open(location).await, people());
    let bounds = Admission { sent: 10, ..contacts(100) };
    let work = |_| {
        let (store, [one, two]) = (Arc::clone(&store), people());
        async move { store.insert(&opening(spammer, &[one, two]), &bounds).await.map(drop) }
    };
    five_of_sixteen(work, |error| matches!(error, InsertError::Admit(AdmitError::TooManySent))).await;
}

async fn refused_conversation_stores_nothing(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    store.set_rule(eve, Some(AddRule::NoOne)).await.unwrap();
    assert!(create(&store, ada, &[bob, eve]).await.is_err());
    assert_eq!(invitations(&store, bob).await, []);
    assert_eq!(store.heads(ada).await.unwrap(), []);
    let one = Admission { own: 1, ..contacts(100) };
    store.insert(&opening(ada, &[bob]), &one).await.unwrap();
}

async fn deleted_account_cannot_be_invited_or_accept(location: &Location) {
    let (store, [ada, bob, eve]) = (open(location).await, people());
    let (group, request) =
        (create(&store, ada, &[bob, eve]).await.unwrap(), create(&store, ada, &[bob]).await.unwrap());
    // The account has not left its conversations yet.
    store.bar(bob, kit::Timestamp::from_micros(0)).await.unwrap();
    for id in [group, request] {
        let refused = accept(&store, id, bob).await;
        assert!(matches!(refused, Err(ChangeError::Admit(AdmitError::MemberUnknown))), "{refused:?}");
    }
    assert_eq!(membership_kind(&store, group, bob).await, None);
    assert_eq!(membership_kind(&store, request, bob).await, Some(MembershipKind::Requested));
    let other = create(&store, ada, &[]).await.unwrap();
    let refused = add(&store, other, ada, bob).await;
    assert!(matches!(refused, Err(ChangeError::Admit(AdmitError::MemberUnknown))), "{refused:?}");
    for others in [vec![bob], vec![bob, eve]] {
        let refused = create(&store, ada, &others).await;
        assert!(matches!(refused, Err(InsertError::Admit(AdmitError::MemberUnknown))), "{refused:?}");
    }
    let refused = create(&store, bob, &[ada]).await;
    assert!(matches!(refused, Err(InsertError::Admit(AdmitError::MemberUnknown))), "{refused:?}");
    assert_eq!(invitations(&store, bob).await, [group]);
}
