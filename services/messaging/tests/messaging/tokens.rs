//! Properties of cursors and page tokens, and of texts that only look like one, over thousands of random values.

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

/// A number of at least `low`. The number of its bits is uniform, so that small numbers are as frequent as large ones.
fn number(dice: &mut Dice, low: i64) -> i64 {
    let bits = dice.between(1, 64);
    i64::try_from(dice.any() >> bits).unwrap().max(low)
}

/// The text with some characters changed, removed, inserted or cut off; sometimes completely random bytes.
fn corrupted(dice: &mut Dice, text: &str) -> String {
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

/// Changes the decoded content of a page token: its base64 is valid, its content is not.
fn corrupted_content(dice: &mut Dice, token: &str) -> String {
    let inside = String::from_utf8(BASE64URL.decode(token).unwrap()).unwrap();
    BASE64URL.encode(corrupted(dice, &inside))
}

#[test]
fn cursor_decodes_to_its_position_or_is_invalid() {
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
        let corrupted = corrupted(&mut dice, &text);
        if let Ok(read) = Cursor::decode(&corrupted, here, epoch) {
            // Another position of the same conversation, in its only encoding.
            assert_eq!((read.conversation, read.epoch, read.encode()), (here, epoch, corrupted));
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
fn message_page_token_is_its_own_page_or_invalid() {
    let mut dice = Dice::new();
    for _ in 0..TIMES {
        let here = ConversationId(id(&mut dice));
        let before = number(&mut dice, 1);
        let token = Page::token_after(&message(here, before, &mut dice));
        let size = i32::try_from(dice.between(1, 1_000)).unwrap();
        assert_eq!(Page::parse(size, &token, here), Ok(Page { before, size: usize::try_from(size).unwrap() }));
        assert_eq!(Page::parse(size, &token, ConversationId(id(&mut dice))), Err(BadToken));
        for corrupted in [corrupted(&mut dice, &token), corrupted_content(&mut dice, &token)] {
            let Ok(page) = Page::parse(size, &corrupted, here) else { continue };
            // The empty token is the first page; every other valid token contains the conversation's id.
            assert!(page.before > 0);
            let inside = BASE64URL.decode(&corrupted).unwrap();
            assert!(corrupted.is_empty() || inside.starts_with(format!("{here}@").as_bytes()), "{corrupted:?}");
        }
    }
}

#[test]
fn member_page_token_is_its_own_page_or_invalid() {
    let mut dice = Dice::new();
    for _ in 0..TIMES {
        let (here, user) = (ConversationId(id(&mut dice)), UserId(id(&mut dice)));
        let last = Member { user, join_seq: number(&mut dice, 1), read_no: 0 };
        let token = MembersPage::token_after(here, &last);
        assert_eq!(MembersPage::parse(7, &token, here), Ok(MembersPage { after: (last.join_seq, user), size: 7 }));
        assert_eq!(MembersPage::parse(7, &token, ConversationId(id(&mut dice))), Err(BadToken));
        for corrupted in [corrupted(&mut dice, &token), corrupted_content(&mut dice, &token)] {
            let Ok(page) = MembersPage::parse(7, &corrupted, here) else { continue };
            let inside = BASE64URL.decode(&corrupted).unwrap();
            assert!(corrupted.is_empty() || (page.after.0 > 0 && inside.starts_with(format!("{here}/").as_bytes())));
        }
    }
}

/// The latest time of a conversation in microseconds: the end of the year 9999.
const LATEST: i64 = 253_402_300_799_000_000;

#[test]
fn conversation_page_token_is_its_own_page_or_invalid() {
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
        for corrupted in [corrupted(&mut dice, &token), corrupted_content(&mut dice, &token)] {
            // Both databases can compare with every time that `parse` accepts.
            let Ok(page) = Recent::parse(7, &corrupted) else { continue };
            assert!((0..=LATEST).contains(&page.after.0.as_micros()), "{corrupted:?}");
        }
    }
}
