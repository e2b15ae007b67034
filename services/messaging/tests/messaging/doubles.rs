//! Test doubles of messaging's store and bus: they wrap the real ones, count calls, and fail on demand.

use std::{
    collections::{BTreeMap, HashSet},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use kit::{
    Timestamp,
    bus::{self, Bus, Listener, Signal},
};
use kit_data::{audit::Log, store::Error};
use messaging::{
    MessagingStore,
    domain::{
        self, AddRule, Admission, Change, ConversationId, Details, Epoch, Invitation, Member, MembersPage,
        NewConversation, NewMessage, ReadPosition, Recent, UserId as Id,
    },
    store::{
        AppendError, Appended, BlockError, ChangeError, Changed, InsertError, Invitations, Marked, Members, Messages,
        People,
    },
};
use tonic::async_trait;
use uuid::Uuid;

/// A test's action on the store.
pub(crate) type Interruption =
    Box<dyn FnOnce(Arc<dyn MessagingStore>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A store that counts the reads of streams, and runs an interruption after the first statement of a page.
pub(crate) struct Counting {
    pub(crate) store: Arc<dyn MessagingStore>,
    pub(crate) entries_read: Arc<AtomicUsize>,
    pub(crate) marks_read: Arc<AtomicUsize>,
    pub(crate) after_page: Arc<Mutex<Option<Interruption>>>,
    pub(crate) failures: Arc<Failures>,
}

/// Which of the next reads of streams fail, as those of a busy database do.
#[derive(Default)]
pub(crate) struct Failures {
    /// Of each kind, the first read and then every second one fails.
    pub(crate) alternate: AtomicBool,
    /// Every read fails.
    pub(crate) always: AtomicBool,
    /// The reads of each kind, by the name of the method, and how many of them failed.
    reads: Mutex<BTreeMap<&'static str, [usize; 2]>>,
}

impl Failures {
    fn next(&self, kind: &'static str) -> Result<(), Error> {
        let mut reads = self.reads.lock().unwrap();
        let [read, failed] = reads.entry(kind).or_default();
        let fails =
            self.always.load(Ordering::SeqCst) || (read.is_multiple_of(2) && self.alternate.load(Ordering::SeqCst));
        *read += 1;
        *failed += usize::from(fails);
        if fails { Err(sqlx::Error::PoolTimedOut.into()) } else { Ok(()) }
    }

    /// The kinds of reads that have failed, and succeeded later.
    pub(crate) fn recovered(&self) -> Vec<&'static str> {
        let reads = self.reads.lock().unwrap();
        reads.iter().filter(|(_, [read, failed])| *failed > 0 && read > failed).map(|(kind, _)| *kind).collect()
    }
}

/// A bus that loses the signals of some subjects.
#[derive(Default)]
pub(crate) struct Lossy {
    bus: bus::LocalBus,
    lost: Mutex<HashSet<Uuid>>,
    published: AtomicUsize,
}

impl Lossy {
    pub(crate) fn lose(&self, subject: Uuid) {
        self.lost.lock().unwrap().insert(subject);
    }

    /// How many signals were published.
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }
}

impl Bus for Lossy {
    fn publish(&self, channel: &'static str, signal: Signal) {
        self.published.fetch_add(1, Ordering::SeqCst);
        if !self.lost.lock().unwrap().contains(&signal.subject) {
            self.bus.publish(channel, signal);
        }
    }

    fn listen(&self, channel: &'static str) -> Listener {
        self.bus.listen(channel)
    }

    fn is_connected(&self) -> bool {
        true
    }
}

#[async_trait]
impl MessagingStore for Counting {
    fn audit(&self) -> &Log {
        self.store.audit()
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn readers(&self) -> u32 {
        self.store.readers()
    }

    async fn find_by_request(&self, creator: Id, request_id: Uuid) -> Result<Option<ConversationId>, Error> {
        self.store.find_by_request(creator, request_id).await
    }

    async fn insert(&self, new: &NewConversation, admission: &Admission) -> Result<domain::Conversation, InsertError> {
        self.store.insert(new, admission).await
    }

    async fn find(&self, id: ConversationId, member: Id) -> Result<Option<domain::Conversation>, Error> {
        self.store.find(id, member).await
    }

    async fn find_all(&self, ids: &[ConversationId], member: Id) -> Result<Vec<domain::Conversation>, Error> {
        self.failures.next("find_all")?;
        self.store.find_all(ids, member).await
    }

    async fn append(&self, new: &NewMessage) -> Result<Appended, AppendError> {
        self.store.append(new).await
    }

    async fn list_history(
        &self,
        id: ConversationId,
        member: Id,
        before: i64,
        limit: usize,
    ) -> Result<Vec<domain::Entry>, Error> {
        let entries = self.store.list_history(id, member, before, limit).await?;
        let then = self.after_page.lock().unwrap().take();
        if let Some(then) = then {
            then(Arc::clone(&self.store)).await;
        }
        Ok(entries)
    }

    async fn head(&self, id: ConversationId, member: Id) -> Result<Option<i64>, Error> {
        self.store.head(id, member).await
    }

    async fn list(&self, member: Id, page: Recent) -> Result<Vec<domain::Conversation>, Error> {
        self.store.list(member, page).await
    }

    async fn update(&self, change: Change, details: &Details) -> Result<Changed, ChangeError> {
        self.store.update(change, details).await
    }

    async fn list_entries(
        &self,
        id: ConversationId,
        member: Id,
        after: i64,
        limit: usize,
    ) -> Result<Vec<domain::Entry>, Error> {
        self.failures.next("list_entries")?;
        let entries = self.store.list_entries(id, member, after, limit).await?;
        self.entries_read.fetch_add(entries.len(), Ordering::SeqCst);
        Ok(entries)
    }

    async fn requests(&self, member: Id) -> Result<Vec<ConversationId>, Error> {
        self.failures.next("requests")?;
        self.store.requests(member).await
    }

    async fn heads(&self, member: Id) -> Result<Vec<(ConversationId, i64)>, Error> {
        self.failures.next("heads")?;
        self.store.heads(member).await
    }

    async fn is_reachable(&self) -> bool {
        self.store.is_reachable().await
    }
}

#[async_trait]
impl Members for Counting {
    async fn add(&self, change: Change, person: Id, admission: &Admission) -> Result<Changed, ChangeError> {
        self.store.add(change, person, admission).await
    }

    async fn remove(&self, change: Change, person: Id) -> Result<Changed, ChangeError> {
        self.store.remove(change, person).await
    }

    async fn bar(&self, person: Id, now: Timestamp) -> Result<(), Error> {
        self.store.bar(person, now).await
    }

    async fn mark_read(
        &self,
        id: ConversationId,
        member: Id,
        number: i64,
    ) -> Result<Option<(ReadPosition, Marked)>, Error> {
        self.store.mark_read(id, member, number).await
    }

    async fn list_members(&self, id: ConversationId, member: Id, page: MembersPage) -> Result<Vec<Member>, Error> {
        self.store.list_members(id, member, page).await
    }

    async fn read_marks(&self, id: ConversationId, member: Id) -> Result<Vec<(Id, i64)>, Error> {
        self.failures.next("read_marks")?;
        self.marks_read.fetch_add(1, Ordering::SeqCst);
        self.store.read_marks(id, member).await
    }

    async fn contacts(&self, member: Id, limit: u32) -> Result<Vec<Id>, Error> {
        self.store.contacts(member, limit).await
    }
}

#[async_trait]
impl Invitations for Counting {
    async fn list_invitations(&self, user: Id, page: Recent, now: Timestamp) -> Result<Vec<Invitation>, Error> {
        self.store.list_invitations(user, page, now).await
    }

    async fn invited(&self, id: ConversationId, inviter: Id, now: Timestamp) -> Result<Vec<Id>, Error> {
        self.store.invited(id, inviter, now).await
    }

    async fn accept(&self, change: Change, admission: &Admission) -> Result<Changed, ChangeError> {
        self.store.accept(change, admission).await
    }

    async fn decline(&self, change: Change) -> Result<(), Error> {
        self.store.decline(change).await
    }

    async fn is_request(&self, id: ConversationId, user: Id) -> Result<bool, Error> {
        self.store.is_request(id, user).await
    }

    async fn pending_from(&self, user: Id, other: Id) -> Result<Vec<ConversationId>, Error> {
        self.store.pending_from(user, other).await
    }

    async fn forget_user(&self, user: Id) -> Result<(), Error> {
        self.store.forget_user(user).await
    }
}

#[async_trait]
impl People for Counting {
    async fn find_rule(&self, user: Id) -> Result<Option<AddRule>, Error> {
        self.store.find_rule(user).await
    }

    async fn set_rule(&self, user: Id, rule: Option<AddRule>) -> Result<(), Error> {
        self.store.set_rule(user, rule).await
    }

    async fn block(&self, user: Id, other: Id, now: Timestamp, limit: u32) -> Result<(), BlockError> {
        self.store.block(user, other, now, limit).await
    }

    async fn unblock(&self, user: Id, other: Id) -> Result<(), Error> {
        self.store.unblock(user, other).await
    }

    async fn list_blocked(&self, user: Id, after: Id, limit: usize) -> Result<Vec<Id>, Error> {
        self.store.list_blocked(user, after, limit).await
    }
}

#[async_trait]
impl Messages for Counting {
    async fn find_message(
        &self,
        id: ConversationId,
        member: Id,
        message: Uuid,
    ) -> Result<Option<domain::Entry>, Error> {
        self.store.find_message(id, member, message).await
    }

    async fn edit(&self, change: Change, message: Uuid, text: &str) -> Result<Changed, ChangeError> {
        self.store.edit(change, message, text).await
    }

    async fn erase(&self, change: Change, message: Uuid) -> Result<Changed, ChangeError> {
        self.store.erase(change, message).await
    }
}
