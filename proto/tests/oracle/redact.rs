//! `Debug` of generated messages prints no secret, no address, and no text of a user.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use proto::{
    auth::v1::{
        BeginTotpResponse, ChangePasswordRequest, CompleteSignInRequest, ConfirmTotpResponse, DeleteAccountRequest,
        RefreshTokenRequest, RefreshTokenResponse, RemoveFactorRequest, Session, SignInRequest, SignInResponse,
        SignOutRequest, SignUpRequest, Tokens,
    },
    messaging::v1::{EditMessageRequest, Entry, Message as Text, SendMessageRequest, entry::Body},
};

const SECRET: &str = "s3cr3t-and-private";

/// A message in which every redacted field, at every depth, is [`SECRET`], and every other text `plain`.
fn filled(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().filter(|field| !field.is_map()) {
        let redact = field.options().get_field_by_name("debug_redact").as_deref().and_then(Value::as_bool);
        let text = if redact == Some(true) { SECRET } else { "plain" };
        match field.kind() {
            Kind::String if field.is_list() => {
                message.set_field(&field, Value::List(vec![Value::String(text.to_owned())]));
            }
            _ if field.is_list() => {}
            Kind::String => message.set_field(&field, Value::String(text.to_owned())),
            Kind::Bytes => message.set_field(&field, Value::Bytes(text.as_bytes().to_vec().into())),
            Kind::Message(inner) if inner.full_name().starts_with("trellis.") => {
                message.set_field(&field, Value::Message(filled(&inner)));
            }
            _ => {}
        }
    }
    message
}

/// Asserts that `Debug` of a filled `T` names its redacted fields and shows none of them.
fn assert_redacts<T: Message + Default + std::fmt::Debug>(name: &str) {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let bytes = filled(&pool.get_message_by_name(name).unwrap()).encode_to_vec();
    assert!(String::from_utf8_lossy(&bytes).contains(SECRET), "{name} has no redacted field");
    for shown in [format!("{:?}", T::decode(&*bytes).unwrap()), format!("{:#?}", T::decode(&*bytes).unwrap())] {
        assert!(shown.contains("[redacted]") && !shown.contains(SECRET), "{name}: {shown}");
    }
}

#[test]
fn debug_of_messages_shows_no_secret() {
    assert_redacts::<SignUpRequest>("trellis.auth.v1.SignUpRequest");
    assert_redacts::<SignInRequest>("trellis.auth.v1.SignInRequest");
    assert_redacts::<SignInResponse>("trellis.auth.v1.SignInResponse");
    assert_redacts::<CompleteSignInRequest>("trellis.auth.v1.CompleteSignInRequest");
    assert_redacts::<BeginTotpResponse>("trellis.auth.v1.BeginTotpResponse");
    assert_redacts::<ConfirmTotpResponse>("trellis.auth.v1.ConfirmTotpResponse");
    assert_redacts::<RemoveFactorRequest>("trellis.auth.v1.RemoveFactorRequest");
    assert_redacts::<RefreshTokenRequest>("trellis.auth.v1.RefreshTokenRequest");
    assert_redacts::<RefreshTokenResponse>("trellis.auth.v1.RefreshTokenResponse");
    assert_redacts::<SignOutRequest>("trellis.auth.v1.SignOutRequest");
    assert_redacts::<ChangePasswordRequest>("trellis.auth.v1.ChangePasswordRequest");
    assert_redacts::<DeleteAccountRequest>("trellis.auth.v1.DeleteAccountRequest");
    assert_redacts::<Tokens>("trellis.auth.v1.Tokens");
    assert_redacts::<Session>("trellis.auth.v1.Session");
    assert_redacts::<SendMessageRequest>("trellis.messaging.v1.SendMessageRequest");
    assert_redacts::<EditMessageRequest>("trellis.messaging.v1.EditMessageRequest");
    assert_redacts::<Text>("trellis.messaging.v1.Message");
}

#[test]
fn debug_of_a_oneof_shows_no_message_text() {
    let text = Text { text: SECRET.to_owned(), ..Text::default() };
    let entry = Entry { seq: 7, body: Some(Body::Message(text)), ..Entry::default() };
    let shown = format!("{entry:?}");
    assert!(shown.contains("seq: 7") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn debug_shows_fields_that_are_not_secret() {
    let request = SignUpRequest { handle: "ada".to_owned(), refresh_delivery: 1, ..SignUpRequest::default() };
    let shown = format!("{request:?}");
    assert!(shown.contains("handle: \"ada\"") && shown.contains("refresh_delivery: Cookie"), "{shown}");
}
