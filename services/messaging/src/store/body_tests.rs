//! The stored bytes of each kind of entry. A change of them makes stored entries unreadable, here or in a process of
//! another release: add fields, never change these bytes.

use super::*;

const MESSAGE: Uuid = Uuid::from_u128(1);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// Each kind of body, and its stored form.
fn golden() -> Vec<(Body, &'static str)> {
    let [one, two] = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
    let message = Message {
        id: MESSAGE,
        client_id: Uuid::from_u128(2),
        number: 9,
        text: "hi".to_owned(),
        edit_time: Some(Timestamp::from_micros(5)),
        delete_time: Some(Timestamp::from_micros(6)),
        revision: 7,
    };
    let text = || "hi".to_owned();
    let title = || "Tea".to_owned();
    vec![
        (
            Body::Message(message),
            "0a2e0a10000000000000000000000000000000011210000000000000000000000000000000021a026869200528063007",
        ),
        (
            Body::Created { members: vec![one, two], member_count: 2, title: title() },
            "122b0a10000000000000000000000000000000010a100000000000000000000000000000000212035465611802",
        ),
        (
            Body::Edited { message: MESSAGE, number: 3, text: text(), revision: 2 },
            "1a1a0a100000000000000000000000000000000110031a0268692002",
        ),
        (Body::Deleted { message: MESSAGE, number: 3 }, "22140a10000000000000000000000000000000011003"),
        (Body::Added { person: one }, "2a120a1000000000000000000000000000000001"),
        (
            Body::Removed { person: one, owner: two },
            "32240a1000000000000000000000000000000001121000000000000000000000000000000002",
        ),
        (
            Body::Updated { title: title(), title_changed: false, add_policy: AddPolicy::OwnerOnly, revision: 3 },
            "3a150a0354656110031a0a6f776e65725f6f6e6c792001",
        ),
    ]
}

#[test]
fn bodies_have_their_golden_bytes() {
    for (body, stored) in golden() {
        assert_eq!(hex(&encode(&body)), stored, "{body:?}");
        let number = matches!(body, Body::Message(_)).then_some(9);
        assert_eq!(decode(&bytes(stored), number).unwrap(), body);
    }
}

/// Older entries have no `same_title`: they were stored when each update changed the title.
#[test]
fn older_update_changes_the_title() {
    let older = bytes("3a130a0354656110031a0a6f776e65725f6f6e6c79");
    assert!(matches!(decode(&older, None).unwrap(), Body::Updated { title_changed: true, .. }));
}

#[test]
fn body_of_a_later_release_is_an_error() {
    // A kind with the tag 15, and a message without its number.
    let message = golden().swap_remove(0).1;
    for (stored, number) in [(bytes("7a00"), None), (Vec::new(), None), (bytes(message), None)] {
        assert!(matches!(decode(&stored, number), Err(Error::Corrupt(_))), "{stored:?}");
    }
}
