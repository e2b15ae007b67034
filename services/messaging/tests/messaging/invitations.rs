//! Requests, invitations, blocks and settings, as clients see them.

use proto::messaging::v1::{
    AcceptInvitationRequest, AddMemberRequest, AddPolicy, AddRule, BlockUserRequest, Conversation,
    CreateConversationResponse, DeclineInvitationRequest, DeleteMemberRequest, GetConversationRequest,
    GetSettingsRequest, Invitation, LeaveConversationRequest, ListBlockedUsersRequest, ListInvitationsRequest,
    MembershipState, RemoveMemberRequest, Settings, SubscribeRequest, UnblockUserRequest, UpdateConversationRequest,
    UpdateSettingsRequest, entry::Body, subscribe_response::Event,
};
use tonic::Status;
use uuid::Uuid;

use crate::{
    bench::{Bench, Person, catch_up, next},
    mesh::{refusal, request},
};

/// A bench with the default rule, by which strangers send requests and invitations.
async fn bench() -> Bench {
    Bench::new(|config| config.add_rule = messaging::Config::default().add_rule).await
}

async fn create(bench: &Bench, creator: &Person, others: &[Uuid]) -> Result<CreateConversationResponse, Status> {
    let opening = creator.opening(&bench.mesh.clock_rng, others);
    Ok(creator.client.clone().create_conversation(creator.request(opening)).await?.into_inner())
}

async fn room(bench: &Bench, creator: &Person, others: &[Uuid]) -> Conversation {
    create(bench, creator, others).await.unwrap().conversation.unwrap()
}

async fn get(reader: &Person, id: &str) -> Result<Conversation, Status> {
    let get = GetConversationRequest { conversation_id: id.to_owned() };
    let response = reader.client.clone().get_conversation(reader.request(get)).await?;
    Ok(response.into_inner().conversation.unwrap())
}

async fn invitations(reader: &Person) -> Vec<Invitation> {
    let list = reader.request(ListInvitationsRequest::default());
    reader.client.clone().list_invitations(list).await.unwrap().into_inner().invitations
}

async fn accept(actor: &Person, id: &str) -> Result<Conversation, Status> {
    let accept = AcceptInvitationRequest { conversation_id: id.to_owned() };
    let response = actor.client.clone().accept_invitation(actor.request(accept)).await?;
    Ok(response.into_inner().conversation.unwrap())
}

async fn decline(actor: &Person, id: &str) {
    let decline = DeclineInvitationRequest { conversation_id: id.to_owned() };
    actor.client.clone().decline_invitation(actor.request(decline)).await.unwrap();
}

async fn block(actor: &Person, user: Uuid) -> Result<(), Status> {
    let block = BlockUserRequest { user_id: user.to_string() };
    actor.client.clone().block_user(actor.request(block)).await.map(drop)
}

fn state(of: &Conversation) -> MembershipState {
    of.membership.as_ref().unwrap().state()
}

#[tokio::test(flavor = "multi_thread")]
async fn reply_accepts_a_request_of_a_stranger() {
    let bench = bench().await;
    let (ada, bob) = (bench.person().await, bench.person().await);
    let mut stream = bob.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    let id = room(&bench, &ada, &[bob.id]).await.conversation_id;
    let Event::Conversation(announced) = next(&mut stream).await else { panic!("the conversation is announced") };
    assert_eq!(state(&announced), MembershipState::Requested);
    assert_eq!(announced.membership.unwrap().added_by, ada.id.to_string());
    // Bob may read, but add no members before he has accepted.
    ada.send_text(&bench.mesh.clock_rng, &id, "hello").await;
    let add = AddMemberRequest { conversation_id: id.clone(), user_id: bench.person().await.id.to_string() };
    let refused = bob.client.clone().add_member(bob.request(add)).await;
    assert_eq!(refusal(refused), "FailedPrecondition REQUEST_PENDING");
    assert_eq!(state(&get(&bob, &id).await.unwrap()), MembershipState::Requested);
    bob.send_text(&bench.mesh.clock_rng, &id, "hello").await;
    assert_eq!(state(&get(&bob, &id).await.unwrap()), MembershipState::Active);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_is_accepted_or_declined() {
    let bench = bench().await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let id = room(&bench, &ada, &[bob.id]).await.conversation_id;
    for _ in 0..2 {
        assert_eq!(state(&accept(&bob, &id).await.unwrap()), MembershipState::Active);
    }
    // Declining does not leave an accepted conversation.
    decline(&bob, &id).await;
    get(&bob, &id).await.unwrap();
    let other = room(&bench, &ada, &[eve.id]).await.conversation_id;
    for _ in 0..2 {
        decline(&eve, &other).await;
    }
    assert_eq!(refusal(get(&eve, &other).await), "NotFound CONVERSATION_NOT_FOUND");
    assert_eq!(get(&ada, &other).await.unwrap().member_count, 1);
    assert_eq!(refusal(accept(&eve, &other).await), "NotFound INVITATION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn invitation_reaches_the_invitee_without_members() {
    let bench = bench().await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let mut stream = eve.subscribe(SubscribeRequest::default()).await.unwrap();
    catch_up(&mut stream).await;
    let created = create(&bench, &ada, &[bob.id, eve.id]).await.unwrap();
    let mut invited = [bob.id.to_string(), eve.id.to_string()];
    invited.sort();
    assert_eq!(created.invited_ids, invited);
    let conversation = created.conversation.unwrap();
    assert_eq!((conversation.member_count, conversation.members.len()), (1, 1));
    while !matches!(next(&mut stream).await, Event::InvitationsChanged(_)) {}
    let found = invitations(&eve).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].title, "Tea");
    assert_eq!((found[0].inviter_id.as_str(), found[0].member_count), (ada.id.to_string().as_str(), 1));
    // An invited user sees nothing of the conversation.
    let id = conversation.conversation_id;
    assert_eq!(refusal(get(&eve, &id).await), "NotFound CONVERSATION_NOT_FOUND");
    assert_eq!(accept(&eve, &id).await.unwrap().member_count, 2);
    assert_eq!(invitations(&eve).await, []);
    loop {
        if let Event::Entry(new) = next(&mut stream).await
            && let Some(Body::MemberAdded(added)) = new.entry.unwrap().body
        {
            assert_eq!(added.user_id, eve.id.to_string());
            break;
        }
    }
    decline(&bob, &id).await;
    assert_eq!(refusal(accept(&bob, &id).await), "NotFound INVITATION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_request_opens_nothing_and_wakes_no_stream() {
    let bench = bench().await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let opening = ada.opening(&bench.mesh.clock_rng, &[bob.id, eve.id]);
    let create = async || ada.client.clone().create_conversation(ada.request(opening.clone())).await;
    let first = create().await.unwrap().into_inner();
    let published = bench.bus.published();
    assert!(published > 0, "members and invited users get signals");
    let repeated = create().await.unwrap().into_inner();
    assert_eq!(repeated, first);
    assert_eq!(bench.bus.published(), published);
    // After its creator has left, the request has no conversation.
    let leave = LeaveConversationRequest { conversation_id: first.conversation.unwrap().conversation_id };
    ada.client.clone().leave_conversation(ada.request(leave)).await.unwrap();
    let published = bench.bus.published();
    assert_eq!(refusal(create().await), "NotFound CONVERSATION_NOT_FOUND");
    assert_eq!(bench.bus.published(), published);
}

#[tokio::test(flavor = "multi_thread")]
async fn member_invites_a_stranger_and_withdraws_the_invitation() {
    let bench = bench().await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let id = room(&bench, &ada, &[bob.id]).await.conversation_id;
    accept(&bob, &id).await.unwrap();
    let add = AddMemberRequest { conversation_id: id.clone(), user_id: eve.id.to_string() };
    for _ in 0..2 {
        let added = bob.client.clone().add_member(bob.request(add.clone())).await.unwrap().into_inner();
        assert_eq!((added.invited, added.conversation.unwrap().member_count), (true, 2));
    }
    let remove = RemoveMemberRequest { conversation_id: id.clone(), user_id: eve.id.to_string() };
    bob.client.clone().remove_member(bob.request(remove)).await.unwrap();
    assert_eq!(refusal(accept(&eve, &id).await), "NotFound INVITATION_NOT_FOUND");
    // A user who shares a conversation becomes a member directly.
    accept(&eve, &room(&bench, &bob, &[eve.id]).await.conversation_id).await.unwrap();
    let added = bob.client.clone().add_member(bob.request(add)).await.unwrap().into_inner();
    assert_eq!((added.invited, added.conversation.unwrap().member_count), (false, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn block_is_hidden_and_declines_pending_invitations() {
    let bench = bench().await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let requested = room(&bench, &ada, &[bob.id]).await.conversation_id;
    room(&bench, &ada, &[bob.id, eve.id]).await;
    block(&bob, ada.id).await.unwrap();
    block(&bob, ada.id).await.unwrap();
    assert_eq!(refusal(get(&bob, &requested).await), "NotFound CONVERSATION_NOT_FOUND");
    assert_eq!(invitations(&bob).await, []);
    let blocked = create(&bench, &ada, &[bob.id]).await.unwrap_err();
    // The same status as for a user whose rule admits no user.
    let rule = Settings { add_rule: AddRule::NoOne.into() };
    let update = UpdateSettingsRequest { settings: Some(rule), update_mask: None };
    eve.client.clone().update_settings(eve.request(update)).await.unwrap();
    let closed = create(&bench, &ada, &[eve.id]).await.unwrap_err();
    assert_eq!(
        (blocked.code(), blocked.message(), blocked.details()),
        (closed.code(), closed.message(), closed.details())
    );
    assert_eq!(refusal::<()>(Err(blocked)), "FailedPrecondition MEMBER_NOT_AVAILABLE");

    let listed = bob.client.clone().list_blocked_users(bob.request(ListBlockedUsersRequest::default())).await;
    assert_eq!(listed.unwrap().into_inner().user_ids, [ada.id.to_string()]);
    let unblock = UnblockUserRequest { user_id: ada.id.to_string() };
    bob.client.clone().unblock_user(bob.request(unblock)).await.unwrap();
    room(&bench, &ada, &[bob.id]).await;
    assert_eq!(refusal(block(&bob, bob.id).await), "FailedPrecondition SELF_BLOCKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_bounded() {
    let bench = Bench::new(|config| config.blocked_per_user = 2).await;
    let ada = bench.person().await;
    let (one, two, three) =
        (bench.mesh.clock_rng.new_id(), bench.mesh.clock_rng.new_id(), bench.mesh.clock_rng.new_id());
    for user in [one, two, one] {
        block(&ada, user).await.unwrap();
    }
    assert_eq!(refusal(block(&ada, three).await), "ResourceExhausted TOO_MANY_BLOCKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_requests_and_invitations_are_reported() {
    let bench = Bench::new(|config| {
        config.add_rule = messaging::Config::default().add_rule;
        config.requests_per_user = 2;
        config.invitations_per_user = 2;
        config.sent_invitations_per_user = 3;
    })
    .await;
    let (bob, eve) = (bench.person().await, bench.person().await);
    for _ in 0..2 {
        room(&bench, &bench.person().await, &[bob.id]).await;
        room(&bench, &bench.person().await, &[bob.id, bench.person().await.id]).await;
    }
    let ada = bench.person().await;
    assert_eq!(refusal(create(&bench, &ada, &[bob.id]).await), "ResourceExhausted MEMBER_FULL");
    assert_eq!(refusal(create(&bench, &ada, &[bob.id, eve.id]).await), "ResourceExhausted MEMBER_FULL");
    for _ in 0..3 {
        room(&bench, &ada, &[bench.person().await.id]).await;
    }
    assert_eq!(refusal(create(&bench, &ada, &[eve.id]).await), "ResourceExhausted TOO_MANY_INVITATIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_default_to_the_configuration() {
    let bench = bench().await;
    let ada = bench.person().await;
    let mut client = ada.client.clone();
    let settings = client.get_settings(ada.request(GetSettingsRequest {})).await.unwrap().into_inner().settings;
    assert_eq!(settings.unwrap().add_rule(), AddRule::Contacts);
    for (chosen, in_force) in [(AddRule::Anyone, AddRule::Anyone), (AddRule::Unspecified, AddRule::Contacts)] {
        let settings = Settings { add_rule: chosen.into() };
        let update = UpdateSettingsRequest { settings: Some(settings), update_mask: None };
        let updated = client.update_settings(ada.request(update)).await.unwrap().into_inner().settings.unwrap();
        assert_eq!(updated.add_rule(), in_force);
    }
    let mask = mask(&["theme"]);
    let update = UpdateSettingsRequest { settings: None, update_mask: Some(mask) };
    assert_eq!(refusal(client.update_settings(ada.request(update)).await), "InvalidArgument FIELD_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_sets_the_add_policy() {
    let bench = Bench::new(|_| {}).await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    let id = room(&bench, &ada, &[bob.id]).await.conversation_id;
    let update = UpdateConversationRequest {
        conversation_id: id.clone(),
        update_mask: Some(mask(&["add_policy"])),
        add_policy: AddPolicy::OwnerOnly.into(),
        ..Default::default()
    };
    let refused = bob.client.clone().update_conversation(bob.request(update.clone())).await;
    assert_eq!(refusal(refused), "PermissionDenied NOT_OWNER");
    let updated = ada.client.clone().update_conversation(ada.request(update)).await.unwrap().into_inner();
    let updated = updated.conversation.unwrap();
    assert_eq!((updated.add_policy(), updated.title.as_str()), (AddPolicy::OwnerOnly, "Tea"));
    let add = AddMemberRequest { conversation_id: id, user_id: eve.id.to_string() };
    let refused = bob.client.clone().add_member(bob.request(add.clone())).await;
    assert_eq!(refusal(refused), "PermissionDenied NOT_OWNER");
    ada.client.clone().add_member(ada.request(add)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_account_leaves_no_invitation_and_no_block() {
    let bench = bench().await;
    let (ada, bob, eve) = (bench.person().await, bench.person().await, bench.person().await);
    room(&bench, &ada, &[bob.id, eve.id]).await;
    room(&bench, &bob, &[ada.id, eve.id]).await;
    block(&ada, eve.id).await.unwrap();
    let token = bench.mesh.service_token("auth", "messaging", &bench.mesh.clock_rng);
    let message = DeleteMemberRequest { user_id: ada.id.to_string() };
    let delete = request(message, std::slice::from_ref(&token));
    assert!(bench.client().delete_member(delete).await.unwrap().into_inner().done);
    assert_eq!(invitations(&bob).await, []);
    assert_eq!(invitations(&ada).await, []);
    assert_eq!(invitations(&eve).await.len(), 1, "the invitation of Bob remains");
}

fn mask(paths: &[&str]) -> prost_types::FieldMask {
    prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
}
