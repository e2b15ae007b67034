//! Delivery to Subscribe streams. For each conversation of its user, a stream carries every entry after the position
//! that the client sent or that the stream announced: once, in order, without a gap, while the stream is open.
//!
//! A stream registers its mailbox, then reads the entries that the client missed, then waits for signals. The bus
//! signals that a conversation has a new entry; the hub marks the mailboxes; each stream reads its entries from the
//! store, after the position that it has sent. A lost, repeated or late signal changes only the latency.
//!
//! Streams use at most half of the store's connections, so that a thousand streams that reconnect from another replica
//! at once do not block other calls.

mod position;
mod reads;
mod subscription;

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use kit::{
    bus::{Bus, Heard, Listener, Signal},
    error,
    keys::KeySet,
    principal::UserSession,
    shutdown::{DrainGuard, Shutdown},
};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified},
    time::sleep,
};
use tonic::{Code, Status};
use uuid::Uuid;

use reads::Reads;
pub(crate) use subscription::Subscription;

use crate::{
    Messaging,
    domain::{ConversationId, UserId},
};

/// The channel for "conversation C has reached entry N".
const ENTRIES: &str = "messaging.entries";
/// The channel for "user U has joined or left a conversation".
const MEMBERS: &str = "messaging.members";

/// The channel for "a read mark of conversation C has changed".
const READS: &str = "messaging.reads";
/// The channel for "user U has moved a read mark that only U sees".
const OWN_READS: &str = "messaging.own_reads";
/// The channel for "user U has an invitation".
const INVITATIONS: &str = "messaging.invitations";
/// How long a new stream waits until another one ends, when the limit is reached.
const PATIENCE: Duration = Duration::from_secs(1);

/// All streams of this process.
pub(crate) struct Hub {
    bus: Arc<dyn Bus>,
    /// Reports revoked sessions.
    keys: Arc<KeySet>,
    streams_per_session: usize,
    streams_per_user: usize,
    /// Bounds the streams that call the store at once.
    turns: Arc<Semaphore>,
    /// Limits how often read marks are published.
    reads: Reads,
    /// Ends all streams during the drain, one after another.
    shutdown: Shutdown,
    registry: Mutex<Registry>,
    /// Notified when a stream ends.
    freed: Notify,
}

#[derive(Default)]
struct Registry {
    next_id: u64,
    by_user: HashMap<Uuid, Vec<Arc<Slot>>>,
    by_conversation: HashMap<ConversationId, HashMap<u64, Arc<Slot>>>,
}

impl Registry {
    fn unlist(&mut self, id: ConversationId, stream: u64) {
        if let Some(streams) = self.by_conversation.get_mut(&id) {
            streams.remove(&stream);
            if streams.is_empty() {
                self.by_conversation.remove(&id);
            }
        }
    }
}

/// One registered stream. The hub marks changes; the stream takes the marks.
struct Slot {
    id: u64,
    user: Uuid,
    session: Uuid,
    marks: Mutex<Marks>,
    notify: Notify,
}

/// The changes since the stream last took its marks. Bounded by the number of the user's conversations.
#[derive(Default)]
pub(crate) struct Marks {
    /// Conversations with new entries.
    pub(crate) conversations: HashSet<ConversationId>,
    /// Conversations with changed read marks.
    pub(crate) reads: HashSet<ConversationId>,
    /// The user has moved read marks in conversations that they have not accepted.
    pub(crate) own_reads: bool,
    /// The user's invitations have changed.
    pub(crate) invitations: bool,
    /// The user may have joined or left conversations, or signals were lost: the stream must compare all conversations.
    pub(crate) everything: bool,
}

impl Slot {
    fn mark(&self, change: impl FnOnce(&mut Marks)) {
        change(&mut self.marks.lock());
        self.notify.notify_one();
    }
}

impl Hub {
    /// Starts the tasks that listen to the bus until the shutdown cuts all connections.
    pub(crate) fn start(service: &Messaging, keys: Arc<KeySet>, shutdown: Shutdown) -> Arc<Self> {
        let at_once = service.store.readers().div_euclid(2).max(1);
        let hub = Arc::new(Self {
            bus: Arc::clone(&service.bus),
            keys,
            streams_per_session: service.config.streams_per_session,
            streams_per_user: service.config.streams_per_user,
            turns: Arc::new(Semaphore::new(at_once as usize)),
            reads: Reads::new(service.config.read_marks_interval.0),
            shutdown,
            registry: Mutex::default(),
            freed: Notify::new(),
        });
        // Starts to listen before a stream can register.
        let [entries, members, reads, own_reads, invitations] =
            [ENTRIES, MEMBERS, READS, OWN_READS, INVITATIONS].map(|channel| hub.bus.listen(channel));
        tokio::spawn(Arc::clone(&hub).follow(entries, Self::wake_conversation));
        tokio::spawn(Arc::clone(&hub).follow(members, Self::wake_user));
        tokio::spawn(Arc::clone(&hub).follow(reads, Self::wake_readers));
        tokio::spawn(Arc::clone(&hub).follow(own_reads, Self::wake_reader));
        tokio::spawn(Arc::clone(&hub).follow(invitations, Self::wake_invited));
        hub
    }

    /// Signals all replicas that the log of `conversation` has reached `seq`.
    pub(crate) fn reached(&self, conversation: ConversationId, seq: i64) {
        self.bus.publish(ENTRIES, Signal { subject: conversation.0, reached: seq });
    }

    /// Signals all replicas that `members` have a new conversation.
    pub(crate) fn announce(&self, members: &[UserId], seq: i64) {
        for member in members {
            self.moved(*member, seq);
        }
    }

    /// Signals all replicas that `person` has joined or left a conversation.
    pub(crate) fn moved(&self, person: UserId, seq: i64) {
        self.bus.publish(MEMBERS, Signal { subject: person.0, reached: seq });
    }

    /// Signals all replicas that `user` has an invitation.
    pub(crate) fn invited(&self, user: UserId) {
        self.bus.publish(INVITATIONS, Signal { subject: user.0, reached: 0 });
    }

    /// Signals all replicas that a read mark has changed: at once, or together with others of the same conversation at
    /// the end of the interval.
    pub(crate) fn read(self: &Arc<Self>, conversation: ConversationId, number: i64) {
        self.publish_read(READS, conversation.0, number);
    }

    /// Like [`Hub::read`], in a conversation that `reader` has not accepted: wakes only the reader's own streams, so that
    /// no other member learns when the reader reads.
    pub(crate) fn read_privately(self: &Arc<Self>, reader: UserId, number: i64) {
        self.publish_read(OWN_READS, reader.0, number);
    }

    fn publish_read(self: &Arc<Self>, channel: &'static str, subject: Uuid, number: i64) {
        if self.reads.hold(subject, number) {
            self.bus.publish(channel, Signal { subject, reached: number });
            tokio::spawn(Arc::clone(self).publish_held(channel, subject));
        }
    }

    async fn publish_held(self: Arc<Self>, channel: &'static str, subject: Uuid) {
        loop {
            tokio::select! {
                () = sleep(self.reads.interval()) => {}
                () = self.shutdown.cut() => {}
            }
            let Some(number) = self.reads.take(subject) else { return };
            self.bus.publish(channel, Signal { subject, reached: number });
        }
    }

    /// Registers a new stream of a session's user. At the limit it waits for [`PATIENCE`]: a client that reconnects,
    /// through another gateway or after a reload, may arrive before the end of its old stream does.
    pub(crate) async fn admit(self: &Arc<Self>, session: &UserSession) -> Result<Mailbox, Status> {
        let mut giving_up = pin!(sleep(PATIENCE));
        loop {
            let freed = self.freed.notified();
            let refusal = match self.register(session) {
                Ok(mailbox) => return Ok(mailbox),
                Err(refusal) => refusal,
            };
            tokio::select! {
                () = freed => {}
                () = giving_up.as_mut() => return Err(refusal),
            }
        }
    }

    fn register(self: &Arc<Self>, session: &UserSession) -> Result<Mailbox, Status> {
        let mut registry = self.registry.lock();
        let own = registry.by_user.get(&session.user).map_or(&[][..], Vec::as_slice);
        let of_session = own.iter().filter(|slot| slot.session == session.id).count();
        if of_session >= self.streams_per_session {
            return Err(too_many("session", self.streams_per_session));
        }
        if own.len() >= self.streams_per_user {
            return Err(too_many("user", self.streams_per_user));
        }
        registry.next_id += 1;
        let slot = Arc::new(Slot {
            id: registry.next_id,
            user: session.user,
            session: session.id,
            marks: Mutex::new(Marks { everything: true, ..Marks::default() }),
            notify: Notify::new(),
        });
        registry.by_user.entry(session.user).or_default().push(Arc::clone(&slot));
        metrics::gauge!("messaging_streams").increment(1);
        let stay = self.shutdown.stay();
        Ok(Mailbox { hub: Arc::clone(self), slot, stay, conversations: HashSet::new() })
    }

    async fn follow(self: Arc<Self>, mut listener: Listener, wake: fn(&Self, Uuid)) {
        loop {
            let event = tokio::select! {
                event = listener.next() => event,
                () = self.shutdown.cut() => return,
            };
            match event {
                Heard::Signal(signal) => wake(&self, signal.subject),
                Heard::Missed => self.wake_all(),
                Heard::Closed => return,
            }
        }
    }

    fn wake_conversation(&self, subject: Uuid) {
        let id = ConversationId(subject);
        for slot in self.registry.lock().by_conversation.get(&id).into_iter().flat_map(HashMap::values) {
            slot.mark(|marks| {
                marks.conversations.insert(id);
            });
        }
    }

    fn wake_readers(&self, subject: Uuid) {
        let id = ConversationId(subject);
        for slot in self.registry.lock().by_conversation.get(&id).into_iter().flat_map(HashMap::values) {
            slot.mark(|marks| {
                marks.reads.insert(id);
            });
        }
    }

    fn wake_reader(&self, subject: Uuid) {
        for slot in self.registry.lock().by_user.get(&subject).into_iter().flatten() {
            slot.mark(|marks| marks.own_reads = true);
        }
    }

    fn wake_invited(&self, subject: Uuid) {
        for slot in self.registry.lock().by_user.get(&subject).into_iter().flatten() {
            slot.mark(|marks| marks.invitations = true);
        }
    }

    fn wake_user(&self, subject: Uuid) {
        for slot in self.registry.lock().by_user.get(&subject).into_iter().flatten() {
            slot.mark(|marks| marks.everything = true);
        }
    }

    fn wake_all(&self) {
        for slot in self.registry.lock().by_user.values().flatten() {
            slot.mark(|marks| marks.everything = true);
        }
    }
}

fn too_many(owner: &str, limit: usize) -> Status {
    let message = format!("this {owner} has {limit} streams already; close one first");
    error::status(Code::ResourceExhausted, "TOO_MANY_STREAMS", message)
}

/// A stream's registration at the hub. Dropping it removes the stream.
pub(crate) struct Mailbox {
    hub: Arc<Hub>,
    slot: Arc<Slot>,
    stay: DrainGuard,
    conversations: HashSet<ConversationId>,
}

impl Mailbox {
    pub(crate) fn user(&self) -> UserId {
        UserId(self.slot.user)
    }

    /// Wakes this stream for changes of `id` from now on. Returns false if it already did.
    pub(crate) fn follow(&mut self, id: ConversationId) -> bool {
        let is_new = self.conversations.insert(id);
        if is_new {
            let mut registry = self.hub.registry.lock();
            registry.by_conversation.entry(id).or_default().insert(self.slot.id, Arc::clone(&self.slot));
        }
        is_new
    }

    /// Stops waking this stream for changes of `id`.
    pub(crate) fn forget(&mut self, id: ConversationId) {
        if self.conversations.remove(&id) {
            self.hub.registry.lock().unlist(id, self.slot.id);
        }
    }

    /// Takes the marks.
    pub(crate) fn take(&self) -> Marks {
        std::mem::take(&mut *self.slot.marks.lock())
    }

    /// Completes at the next mark, or at once if there is one since the last [`Mailbox::take`].
    pub(crate) fn marked(&self) -> Notified<'_> {
        self.slot.notify.notified()
    }

    /// Whether the stream's session is revoked.
    pub(crate) fn is_revoked(&self) -> bool {
        self.hub.keys.is_revoked(self.slot.session)
    }

    /// Completes when the stream's session is revoked.
    pub(crate) async fn revoked(&self) {
        self.hub.keys.revoked(self.slot.session).await;
    }

    /// Waits until this stream may call the store. Streams wait in order.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.hub.turns).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// The guard that reports when the drain ends this stream.
    pub(crate) fn stay(&self) -> &DrainGuard {
        &self.stay
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut registry = self.hub.registry.lock();
        if let Some(own) = registry.by_user.get_mut(&self.slot.user) {
            own.retain(|slot| slot.id != self.slot.id);
            if own.is_empty() {
                registry.by_user.remove(&self.slot.user);
            }
        }
        for id in &self.conversations {
            registry.unlist(*id, self.slot.id);
        }
        drop(registry);
        self.hub.freed.notify_waiters();
        metrics::gauge!("messaging_streams").decrement(1);
    }
}
