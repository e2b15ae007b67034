//! For every conversation of its user, a stream carries each entry past the position that the client named, or
//! that the stream announced: once, in order, without a gap, for as long as the stream lives.
//!
//! How: the stream registers its mailbox first, then reads what was missed, then follows. The bus tells the
//! hub that a conversation has moved; the hub marks the mailboxes; each stream reads its entries from the
//! store past the position it has sent. A signal that is lost, doubled or late changes only the time.
//!
//! Streams wait better than calls: they use half of the store's connections at most, so that a thousand of them that
//! come from another replica at one moment do not keep a message from being sent.

mod reads;
mod subscription;

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kit::{
    bus::{Bus, Heard, Listener, Signal},
    context::User,
    error,
    keys::KeySet,
    shutdown::{DrainGuard, Shutdown},
};
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

/// The channel on which "conversation C has reached N" travels.
const ENTRIES: &str = "messaging.entries";
/// The channel on which "user U is in another conversation" travels.
const MEMBERS: &str = "messaging.members";

/// The channel on which "somebody has read more in conversation C" travels.
const READS: &str = "messaging.reads";
/// The channel on which "user U has an invitation" travels.
const INVITATIONS: &str = "messaging.invitations";
/// How long a new stream waits for a place.
const PATIENCE: Duration = Duration::from_secs(1);

/// All streams of this process.
pub(crate) struct Hub {
    bus: Arc<dyn Bus>,
    /// Knows which sessions were ended.
    keys: Arc<KeySet>,
    streams_per_session: usize,
    streams_per_user: usize,
    /// Who of the streams may ask the store now.
    turns: Arc<Semaphore>,
    /// Read marks that were published lately.
    reads: Reads,
    /// Ends all streams, one after another.
    shutdown: Shutdown,
    registry: Mutex<Registry>,
    /// Told whenever a stream has given its place back.
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

/// What the hub knows of one stream. Shared by the hub, which marks, and the stream, which reads.
struct Slot {
    id: u64,
    user: Uuid,
    session: Uuid,
    marks: Mutex<Marks>,
    notify: Notify,
}

/// What has moved since the stream looked last. Bounded by the user's conversations.
#[derive(Default)]
struct Marks {
    conversations: HashSet<ConversationId>,
    /// Where people have read more.
    reads: HashSet<ConversationId>,
    /// There are other invitations.
    invitations: bool,
    /// Conversations may have been added or left, or signals lost: look at all of them.
    everything: bool,
}

impl Slot {
    fn mark(&self, change: impl FnOnce(&mut Marks)) {
        change(&mut lock(&self.marks));
        self.notify.notify_one();
    }
}

/// Marks are plain data: whoever panicked while holding them left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Starts listening to the bus, for as long as there may be streams.
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
        // Listening begins here, before any stream can register.
        let [entries, members, reads, invitations] =
            [ENTRIES, MEMBERS, READS, INVITATIONS].map(|channel| hub.bus.listen(channel));
        tokio::spawn(Arc::clone(&hub).follow(entries, Self::wake_conversation));
        tokio::spawn(Arc::clone(&hub).follow(members, Self::wake_user));
        tokio::spawn(Arc::clone(&hub).follow(reads, Self::wake_readers));
        tokio::spawn(Arc::clone(&hub).follow(invitations, Self::wake_invited));
        hub
    }

    /// Tells all replicas that the log of `conversation` has reached `seq`.
    pub(crate) fn reached(&self, conversation: ConversationId, seq: i64) {
        self.bus.publish(ENTRIES, Signal { subject: conversation.0, reached: seq });
    }

    /// Tells all replicas that the members have another conversation.
    pub(crate) fn announce(&self, members: &[UserId], seq: i64) {
        for member in members {
            self.moved(*member, seq);
        }
    }

    /// Tells all replicas that `person` is in a conversation more, or in one less.
    pub(crate) fn moved(&self, person: UserId, seq: i64) {
        self.bus.publish(MEMBERS, Signal { subject: person.0, reached: seq });
    }

    /// Tells all replicas that `user` has an invitation.
    pub(crate) fn invited(&self, user: UserId) {
        self.bus.publish(INVITATIONS, Signal { subject: user.0, reached: 0 });
    }

    /// Tells all replicas that somebody has read up to a message: at once, or with others of the same conversation at
    /// the end of the interval.
    pub(crate) fn read(self: &Arc<Self>, conversation: ConversationId, number: i64) {
        if self.reads.hold(conversation, number) {
            self.publish_read(conversation, number);
            tokio::spawn(Arc::clone(self).publish_held(conversation));
        }
    }

    async fn publish_held(self: Arc<Self>, conversation: ConversationId) {
        loop {
            tokio::select! {
                () = sleep(self.reads.interval()) => {}
                () = self.shutdown.cut() => {}
            }
            let Some(number) = self.reads.take(conversation) else { return };
            self.publish_read(conversation, number);
        }
    }

    fn publish_read(&self, conversation: ConversationId, number: i64) {
        self.bus.publish(READS, Signal { subject: conversation.0, reached: number });
    }

    /// A mailbox for a new stream of `user`. When there is no place, one may be about to be given back: who opens a
    /// stream again, through another gateway or after a reload, can be here before the end of the old one is.
    pub(crate) async fn admit(self: &Arc<Self>, user: &User) -> Result<Mailbox, Status> {
        let mut giving_up = pin!(sleep(PATIENCE));
        loop {
            let freed = self.freed.notified();
            let refusal = match self.register(user) {
                Ok(mailbox) => return Ok(mailbox),
                Err(refusal) => refusal,
            };
            tokio::select! {
                () = freed => {}
                () = giving_up.as_mut() => return Err(refusal),
            }
        }
    }

    fn register(self: &Arc<Self>, user: &User) -> Result<Mailbox, Status> {
        let mut registry = lock(&self.registry);
        let mine = registry.by_user.get(&user.id).map_or(&[][..], Vec::as_slice);
        let of_session = mine.iter().filter(|slot| slot.session == user.session).count();
        if of_session >= self.streams_per_session {
            return Err(too_many("session", self.streams_per_session));
        }
        if mine.len() >= self.streams_per_user {
            return Err(too_many("user", self.streams_per_user));
        }
        registry.next_id += 1;
        let slot = Arc::new(Slot {
            id: registry.next_id,
            user: user.id,
            session: user.session,
            marks: Mutex::new(Marks { everything: true, ..Marks::default() }),
            notify: Notify::new(),
        });
        registry.by_user.entry(user.id).or_default().push(Arc::clone(&slot));
        metrics::gauge!("messaging_streams").increment(1);
        let stay = self.shutdown.stay();
        Ok(Mailbox { hub: Arc::clone(self), slot, stay, conversations: HashSet::new() })
    }

    async fn follow(self: Arc<Self>, mut listener: Listener, wake: fn(&Self, Uuid)) {
        loop {
            let heard = tokio::select! {
                heard = listener.next() => heard,
                () = self.shutdown.cut() => return,
            };
            match heard {
                Heard::Signal(signal) => wake(&self, signal.subject),
                Heard::Missed => self.wake_all(),
                Heard::Closed => return,
            }
        }
    }

    fn wake_conversation(&self, subject: Uuid) {
        let id = ConversationId(subject);
        for slot in lock(&self.registry).by_conversation.get(&id).into_iter().flat_map(HashMap::values) {
            slot.mark(|marks| {
                marks.conversations.insert(id);
            });
        }
    }

    fn wake_readers(&self, subject: Uuid) {
        let id = ConversationId(subject);
        for slot in lock(&self.registry).by_conversation.get(&id).into_iter().flat_map(HashMap::values) {
            slot.mark(|marks| {
                marks.reads.insert(id);
            });
        }
    }

    fn wake_invited(&self, subject: Uuid) {
        for slot in lock(&self.registry).by_user.get(&subject).into_iter().flatten() {
            slot.mark(|marks| marks.invitations = true);
        }
    }

    fn wake_user(&self, subject: Uuid) {
        for slot in lock(&self.registry).by_user.get(&subject).into_iter().flatten() {
            slot.mark(|marks| marks.everything = true);
        }
    }

    fn wake_all(&self) {
        for slot in lock(&self.registry).by_user.values().flatten() {
            slot.mark(|marks| marks.everything = true);
        }
    }
}

fn too_many(whose: &str, limit: usize) -> Status {
    let message = format!("this {whose} holds {limit} streams already; close one first");
    error::status(Code::ResourceExhausted, "TOO_MANY_STREAMS", message)
}

/// A stream's end of the hub. Dropped with the stream, which frees its place.
pub(crate) struct Mailbox {
    hub: Arc<Hub>,
    slot: Arc<Slot>,
    stay: DrainGuard,
    conversations: HashSet<ConversationId>,
}

/// What a mailbox held.
pub(crate) struct Mail {
    pub(crate) conversations: HashSet<ConversationId>,
    pub(crate) reads: HashSet<ConversationId>,
    pub(crate) invitations: bool,
    pub(crate) everything: bool,
}

impl Mailbox {
    pub(crate) fn user(&self) -> UserId {
        UserId(self.slot.user)
    }

    /// Wakes this stream for `id` from now on. Whether it did not before.
    pub(crate) fn follow(&mut self, id: ConversationId) -> bool {
        let is_new = self.conversations.insert(id);
        if is_new {
            let mut registry = lock(&self.hub.registry);
            registry.by_conversation.entry(id).or_default().insert(self.slot.id, Arc::clone(&self.slot));
        }
        is_new
    }

    /// Wakes this stream for `id` no more.
    pub(crate) fn forget(&mut self, id: ConversationId) {
        if self.conversations.remove(&id) {
            lock(&self.hub.registry).unlist(id, self.slot.id);
        }
    }

    /// Takes what was marked.
    pub(crate) fn take(&self) -> Mail {
        let marks = std::mem::take(&mut *lock(&self.slot.marks));
        let Marks { conversations, reads, invitations, everything } = marks;
        Mail { conversations, reads, invitations, everything }
    }

    /// Ends when something is marked; at once when it was since the last [`Mailbox::take`].
    pub(crate) fn marked(&self) -> Notified<'_> {
        self.slot.notify.notified()
    }

    /// Whether the session that opened the stream was ended.
    pub(crate) fn is_revoked(&self) -> bool {
        self.hub.keys.is_revoked(self.slot.session)
    }

    /// Ends when it is.
    pub(crate) async fn revoked(&self) {
        self.hub.keys.revoked(self.slot.session).await;
    }

    /// Waits until this stream may ask the store; streams come in the order in which they asked.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.hub.turns).acquire_owned().await.expect("it is never closed")
    }

    /// Says when the stream is to end because the process stops.
    pub(crate) fn stay(&self) -> &DrainGuard {
        &self.stay
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let mut registry = lock(&self.hub.registry);
        if let Some(mine) = registry.by_user.get_mut(&self.slot.user) {
            mine.retain(|slot| slot.id != self.slot.id);
            if mine.is_empty() {
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
