//! A simple model of a conversation for the comparison with the store: in memory, one operation after another.

use std::collections::{BTreeMap, HashMap};

use kit::Timestamp;
use messaging::{
    domain::{
        Body, Change, Conversation, Entry, FIRST_MEMBERS, Member as Shown, Membership, MembershipKind, Message,
        NewConversation, NewMessage, ReadPosition, UserId,
    },
    store::{Changed, Marked},
};
use uuid::Uuid;

/// The outcome of a change; an error by its name.
pub(crate) type Outcome = Result<Changed, &'static str>;

pub(crate) struct Model {
    /// The fields that are equal for all readers.
    shared: Conversation,
    pub(crate) members: BTreeMap<UserId, Member>,
    pub(crate) log: Vec<Entry>,
    /// By author and client's id: the entry's index in the log and the text as sent.
    sent: HashMap<(UserId, Uuid), (usize, String)>,
}

#[derive(Clone, Copy)]
pub(crate) struct Member {
    joined: i64,
    read: i64,
    /// The member who added this one; `None` for the creator.
    added_by: Option<UserId>,
}

impl Model {
    pub(crate) fn new(new: &NewConversation, shared: Conversation) -> Self {
        let added_by = |member: UserId| (member != new.creator).then_some(new.creator);
        let member = |id: &UserId| (*id, Member { joined: 1, read: 0, added_by: added_by(*id) });
        let members = new.members.iter().map(member).collect();
        let mut model = Self { shared, members, log: Vec::new(), sent: HashMap::new() };
        model.shared.last_seq = 0;
        let members: Vec<UserId> = new.members.iter().copied().take(FIRST_MEMBERS).collect();
        let member_count = i64::try_from(new.members.len()).unwrap();
        let body = Body::Created { members, member_count, title: new.title.clone() };
        model.push(new.creator, new.create_time, body);
        model
    }

    /// The conversation as `reader` sees it.
    pub(crate) fn seen_by(&self, reader: UserId) -> Option<Conversation> {
        let own = self.members.get(&reader)?;
        let is_message = |entry: &&Entry| matches!(entry.body, Body::Message(_));
        Some(Conversation {
            member_count: i64::try_from(self.members.len()).unwrap(),
            members: self.joined().into_iter().take(FIRST_MEMBERS).collect(),
            own: Membership {
                read_no: own.read,
                unread: self.unread(own.read),
                is_owner: self.shared.owner == reader,
                membership_kind: if own.added_by.is_some() { MembershipKind::Added } else { MembershipKind::Own },
                added_by: own.added_by,
            },
            last_message: self.log.iter().rfind(is_message).cloned(),
            ..self.shared.clone()
        })
    }

    /// The number of messages after `read` that are not erased.
    fn unread(&self, read: i64) -> i64 {
        let is_unread = |entry: &&Entry| matches!(&entry.body, Body::Message(message) if message.number > read && message.delete_time.is_none());
        i64::try_from(self.log.iter().filter(is_unread).count()).unwrap()
    }

    /// All members, in the order in which they joined.
    pub(crate) fn joined(&self) -> Vec<Shown> {
        let shown =
            |(user, member): (&UserId, &Member)| Shown { user: *user, join_seq: member.joined, read_no: member.read };
        let mut all: Vec<_> = self.members.iter().map(shown).collect();
        all.sort_by_key(|member| (member.join_seq, member.user));
        all
    }

    /// The ids of all messages, with their authors.
    pub(crate) fn messages(&self) -> Vec<(Uuid, UserId)> {
        let message = |entry: &Entry| match &entry.body {
            Body::Message(message) => Some((message.id, entry.author)),
            _ => None,
        };
        self.log.iter().filter_map(message).collect()
    }

    /// The message's entry, and whether it is new.
    pub(crate) fn send(&mut self, new: &NewMessage) -> Result<(Entry, bool), &'static str> {
        if !self.members.contains_key(&new.author) {
            return Err("NotFound");
        }
        let key = (new.author, new.client_id);
        if let Some((at, text)) = self.sent.get(&key) {
            return if *text == new.text { Ok((self.log[*at].clone(), false)) } else { Err("RequestIdReused") };
        }
        self.shared.message_count += 1;
        let (number, text) = (self.shared.message_count, new.text.clone());
        let (id, client_id) = (new.id, new.client_id);
        let message = Message { id, client_id, number, text, edit_time: None, delete_time: None, revision: 1 };
        self.sent.insert(key, (self.log.len(), new.text.clone()));
        self.push(new.author, new.create_time, Body::Message(message));
        // A sender's read mark moves to their own message.
        self.members.get_mut(&new.author).unwrap().read = number;
        Ok((self.log.last().unwrap().clone(), true))
    }

    pub(crate) fn edit(&mut self, change: &Change, id: Uuid, text: &str) -> Outcome {
        let (author, message) = self.message(change, id)?;
        if author != change.actor {
            return Err("NotAuthor");
        }
        if message.delete_time.is_some() {
            return Err("Erased");
        }
        if message.text == text {
            return Ok(Changed::Already);
        }
        if change.revision.is_some_and(|revision| revision != message.revision) {
            return Err("OtherRevision");
        }
        message.revision += 1;
        text.clone_into(&mut message.text);
        message.edit_time = Some(change.now);
        let (number, revision) = (message.number, message.revision);
        self.change(change, Body::Edited { message: id, number, text: text.to_owned(), revision })
    }

    pub(crate) fn erase(&mut self, change: &Change, id: Uuid) -> Outcome {
        let owner = self.shared.owner;
        let (author, message) = self.message(change, id)?;
        if author != change.actor && owner != change.actor {
            return Err("NotAuthor");
        }
        if message.delete_time.is_some() {
            return Ok(Changed::Already);
        }
        message.revision += 1;
        message.text.clear();
        message.delete_time = Some(change.now);
        let (erased, last) = (message.number, message.revision);
        for entry in &mut self.log {
            if let Body::Edited { number, text, revision, .. } = &mut entry.body
                && *number == erased
            {
                text.clear();
                *revision = last;
            }
        }
        self.change(change, Body::Deleted { message: id, number: erased })
    }

    pub(crate) fn rename(&mut self, change: &Change, title: &str) -> Outcome {
        self.require(change.actor)?;
        if self.shared.title == title {
            return Ok(Changed::Already);
        }
        if change.revision.is_some_and(|revision| revision != self.shared.revision) {
            return Err("OtherRevision");
        }
        self.shared.revision += 1;
        title.clone_into(&mut self.shared.title);
        let (add_policy, revision) = (self.shared.add_policy, self.shared.revision);
        self.change(change, Body::Updated { title: title.to_owned(), title_changed: true, add_policy, revision })
    }

    pub(crate) fn add(&mut self, change: &Change, person: UserId) -> Outcome {
        self.require(change.actor)?;
        if self.members.contains_key(&person) {
            return Ok(Changed::Already);
        }
        let (joined, read) = (self.shared.last_seq + 1, self.shared.message_count);
        let member = Member { joined, read, added_by: Some(change.actor) };
        self.members.insert(person, member);
        self.change(change, Body::Added { person })
    }

    pub(crate) fn remove(&mut self, change: &Change, person: UserId) -> Outcome {
        self.require(change.actor)?;
        if person != change.actor && self.shared.owner != change.actor {
            return Err("NotOwner");
        }
        if self.members.remove(&person).is_none() {
            return Ok(Changed::Already);
        }
        if person == self.shared.owner {
            let first = self.members.iter().min_by_key(|(who, member)| (member.joined, **who));
            self.shared.owner = first.map_or(person, |(who, _)| *who);
        }
        self.change(change, Body::Removed { person, owner: self.shared.owner })
    }

    /// The member's read position, and who sees that it has changed.
    pub(crate) fn mark_read(&mut self, member: UserId, number: i64) -> Option<(ReadPosition, Marked)> {
        let count = self.shared.message_count;
        let read = &mut self.members.get_mut(&member)?.read;
        let (before, number) = (*read, number.min(count).max(*read));
        *read = number;
        let marked = if number == before { Marked::Unchanged } else { Marked::Publicly };
        Some((ReadPosition { number, unread: self.unread(number) }, marked))
    }

    fn require(&self, actor: UserId) -> Result<(), &'static str> {
        if self.members.contains_key(&actor) { Ok(()) } else { Err("NotFound") }
    }

    /// The author and the current message.
    fn message(&mut self, change: &Change, id: Uuid) -> Result<(UserId, &mut Message), &'static str> {
        self.require(change.actor)?;
        let of = |entry| match entry {
            &mut Entry { author, body: Body::Message(ref mut message), .. } if message.id == id => {
                Some((author, message))
            }
            _ => None,
        };
        self.log.iter_mut().find_map(of).ok_or("NoMessage")
    }

    fn change(&mut self, change: &Change, body: Body) -> Outcome {
        self.push(change.actor, change.now, body);
        Ok(Changed::Now(self.shared.last_seq))
    }

    fn push(&mut self, author: UserId, now: Timestamp, body: Body) {
        self.shared.last_seq += 1;
        self.shared.update_time = now;
        let (conversation, seq) = (self.shared.id, self.shared.last_seq);
        self.log.push(Entry { conversation, seq, author, create_time: now, body });
    }
}
