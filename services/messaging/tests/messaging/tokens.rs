//! What holds of every cursor and every page token, and of every text that only looks like one: thousands of each.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::Timestamp;
use messaging::domain::{
    AddPolicy, BadCursor, BadToken, Body, Conversation, ConversationId, Cursor, Entry, Epoch, Member, MembersPage,
    Membership, Message, Page, Recent, UserId,
};
use uuid::Uuid;

use crate::dice::Dice;

const TIMES: usize = 5_000;

pub(crate) fn id(dice: &mut Dice) -> Uuid {
    Uuid::from_u64_pair(dice.any(), dice.any())
}

/// At least `low`; small ones as often as large ones.
fn number(dice: &mut Dice, low: i64) -> i64 {
    let bits = dice.between(1, 64);
    i64::try_from(dice.any() >> bits).unwrap().max(low)
}

/// The text with some places changed, taken out, put in or cut off; now and then something made up altogether.
fn spoilt(dice: &mut Dice, text: &str) -> String {
    const LETTERS: &[u8] = b"AZaz09-_=+/ .%\0\n";
    let mut bytes = text.as_bytes().to_vec();
    if dice.between(0, 8) == 0 {
        bytes = (0..dice.between(0, 80)).map(|_| u8::try_from(dice.between(0, 256)).unwrap()).collect();
    }
    for _ in 0..dice.between(1, 4) {
        let at = usize::try_from(dice.between(0, bytes.len() as u64 + 1)).unwrap();
        match dice.between(0, 4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, *dice.pick(LETTERS)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = *dice.pick(LETTERS),
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same for what is inside a page token: its base64 is right, what it says is not.
fn spoilt_within(dice: &mut Dice, token: &str) -> String {
    let inside = String::from_utf8(BASE64URL.decode(token).unwrap()).unwrap();
    BASE64URL.encode(spoilt(dice, &inside))
}

#[test]
fn a_cursor_leads_to_its_own_place_or_nowhere() {
    let mut dice = Dice::new();
    for _ in 0..TIMES {
        let (epoch, here) = (Epoch(u32::try_from(dice.any() >> 32).unwrap()), ConversationId(id(&mut dice)));
        let cursor = Cursor { epoch, conversation: here, seq: number(&mut dice, 0) };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text, here, epoch), Ok(cursor));
        let other = Epoch(epoch.0 ^ u32::try_from(dice.between(1, 1 << 32)).unwrap());
        assert_eq!(Cursor::decode(&text, here, other), Err(BadCursor::OtherEpoch));
        let elsewhere = ConversationId(id(&mut dice));
        assert_eq!(Cursor::decode(&text, elsewhere, epoch), Err(BadCursor::Invalid));
        let spoilt = spoilt(&mut dice, &text);
        if let Ok(read) = Cursor::decode(&spoilt, here, epoch) {
            // Another place of the same conversation, and no second way to write it.
            assert_eq!((read.conversation, read.epoch, read.encode()), (here, epoch, spoilt));
            assert!(read.seq >= 0);
        }
    }
}

fn message(conversation: ConversationId, number: i64, dice: &mut Dice) -> Entry {
    let (id, client_id) = (id(dice), id(dice));
    let (text, edit_time, delete_time) = (String::new(), None, None);
    let body = Body::Message(Message { id, client_id, number, text, edit_time, delete_time, revision: 1 });
    let (author, create_time) = (UserId(id), Timestamp::from_micros(0));
    Entry { conversation, seq: number, author, create_time, body }
}

#[test]
fn a_token_of_messages_leads_to_its_own_page_or_nowhere() {
    let mut dice = Dice::new();
    for _ in 0..TIMES {
        let here = ConversationId(id(&mut dice));
        let before = number(&mut dice, 1);
        let token = Page::token_after(&message(here, before, &mut dice));
        let size = i32::try_from(dice.between(1, 1_000)).unwrap();
        assert_eq!(Page::parse(size, &token, here), Ok(Page { before, size: usize::try_from(size).unwrap() }));
        assert_eq!(Page::parse(size, &token, ConversationId(id(&mut dice))), Err(BadToken));
        for spoilt in [spoilt(&mut dice, &token), spoilt_within(&mut dice, &token)] {
            let Ok(page) = Page::parse(size, &spoilt, here) else { continue };
            // Nothing asks for the first page; whatever else is read names the conversation.
            assert!(page.before > 0);
            let inside = BASE64URL.decode(&spoilt).unwrap();
            assert!(spoilt.is_empty() || inside.starts_with(format!("{here}/").as_bytes()), "{spoilt:?}");
        }
    }
}

#[test]
fn token_of_members_leads_to_its_own_page_or_nowhere() {
    let mut dice = Dice::new();
    for _ in 0..TIMES {
        let (here, user) = (ConversationId(id(&mut dice)), UserId(id(&mut dice)));
        let last = Member { user, join_seq: number(&mut dice, 1), read_no: 0 };
        let token = MembersPage::token_after(here, &last);
        assert_eq!(MembersPage::parse(7, &token, here), Ok(MembersPage { after: (last.join_seq, user), size: 7 }));
        assert_eq!(MembersPage::parse(7, &token, ConversationId(id(&mut dice))), Err(BadToken));
        for spoilt in [spoilt(&mut dice, &token), spoilt_within(&mut dice, &token)] {
            let Ok(page) = MembersPage::parse(7, &spoilt, here) else { continue };
            let inside = BASE64URL.decode(&spoilt).unwrap();
            assert!(spoilt.is_empty() || (page.after.0 > 0 && inside.starts_with(format!("{here}/").as_bytes())));
        }
    }
}

/// Conversations end with this one, at the latest: the year 9999.
const LATEST: i64 = 253_402_300_799_000_000;

#[test]
fn a_token_of_conversations_leads_to_its_own_page_or_nowhere() {
    let mut dice = Dice::new();
    for _ in 0..TIMES {
        let (id, now) = (ConversationId(id(&mut dice)), Timestamp::from_micros(number(&mut dice, 0) % (LATEST + 1)));
        let last = Conversation {
            id,
            title: String::new(),
            member_count: 1,
            members: Vec::new(),
            owner: UserId(id.0),
            add_policy: AddPolicy::AllMembers,
            revision: 1,
            create_time: now,
            update_time: now,
            last_seq: 1,
            message_count: 0,
            own: Membership::OPENER,
            last_message: None,
        };
        let token = Recent::token_after(&last);
        assert_eq!(Recent::parse(7, &token), Ok(Recent { after: (now, id), size: 7 }));
        for spoilt in [spoilt(&mut dice, &token), spoilt_within(&mut dice, &token)] {
            // Whatever is read, both databases can compare with it.
            let Ok(page) = Recent::parse(7, &spoilt) else { continue };
            assert!((0..=LATEST).contains(&page.after.0.as_micros()), "{spoilt:?}");
        }
    }
}
