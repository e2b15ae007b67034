//! Which messages may hold a secret or private text.

use std::collections::HashSet;

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, Value};

/// A message that may hold any other one.
const ANY: &str = "google.protobuf.Any";

/// Whether the message, or one within it, has a field that its contract marks as secret or private (`debug_redact`).
/// Texts of an attacker may stand beside such a field, so that the size of the compressed message would reveal it.
pub(super) fn may_be_in(message: &MessageDescriptor) -> bool {
    let (mut seen, mut rest) = (HashSet::new(), vec![message.clone()]);
    while let Some(message) = rest.pop() {
        if message.full_name() == ANY {
            return true;
        }
        let fields = message.fields().map(|field| (is_private(&field.options()), field.kind()));
        let extensions = message.extensions().map(|field| (is_private(&field.options()), field.kind()));
        for (is_private, kind) in fields.chain(extensions) {
            if is_private {
                return true;
            }
            if let Kind::Message(inner) = kind
                && seen.insert(inner.full_name().to_owned())
            {
                rest.push(inner);
            }
        }
    }
    false
}

fn is_private(options: &DynamicMessage) -> bool {
    options.get_field_by_name("debug_redact").as_deref().and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_contracts::compile;

    #[test]
    fn private_fields_are_found_at_any_depth() {
        let pool = compile(
            r#"syntax = "proto3"; package t; import "google/protobuf/any.proto";
               message Secret { string name = 1; string token = 2 [debug_redact = true]; }
               message Tree { string name = 1; Tree left = 2; repeated Tree right = 3; }
               message Deep { Tree tree = 1; map<string, Inner> inner = 2; }
               message Inner { oneof of { string name = 1; Secret secret = 2; } }
               message Open { repeated google.protobuf.Any details = 1; }"#,
        );
        let is_private = |name: &str| may_be_in(&pool.get_message_by_name(name).unwrap());
        assert!(is_private("t.Secret") && is_private("t.Inner") && is_private("t.Deep") && is_private("t.Open"));
        assert!(!is_private("t.Tree"));
    }

    #[test]
    fn tokens_and_texts_of_the_contracts_are_private() {
        let pool = prost_reflect::DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
        let is_private = |name: &str| may_be_in(&pool.get_message_by_name(name).unwrap());
        for name in ["auth.v1.SignInResponse", "auth.v1.RefreshTokenResponse", "messaging.v1.ListMessagesResponse"] {
            assert!(is_private(&format!("trellis.{name}")), "{name}");
        }
        for name in ["users.v1.GetUserResponse", "users.v1.ListUsersResponse", "auth.v1.GetJwksResponse"] {
            assert!(!is_private(&format!("trellis.{name}")), "{name}");
        }
    }
}
