//! One Subscribe stream. It reads from the store only when its client reads (backpressure), so a slow client takes the
//! memory of one batch.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, stream};
use kit::{ClockAndRng, Timestamp, error, principal::UserSession};
use proto::messaging::v1::{
    CaughtUp, ConversationLeft, InvitationsChanged, NewEntry, SubscribeResponse, subscribe_response::Event,
};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Status};

use super::{
    Mailbox,
    position::{Step, step},
};
use crate::{
    Messaging, MessagingStore,
    domain::{ConversationId, Cursor, Entry},
    wire,
};

/// The maximum memory of an entry: a text of 16 KiB, ids and names, rounded up.
const ENTRY_BYTES: usize = 20 * 1024;
/// The maximum memory of an announced conversation: its newest message, title and first members, rounded up.
const CONVERSATION_BYTES: usize = 20 * 1024;

/// The longest pause before a stream repeats a failed step.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// The state of one stream. A step changes it only after its statements have succeeded, so that it can be repeated.
pub(crate) struct Subscription {
    store: Arc<dyn MessagingStore>,
    clock_rng: ClockAndRng,
    mailbox: Mailbox,
    heartbeat: Duration,
    /// When to compare all conversations again: one heartbeat after the last comparison, independent of other events.
    comparison_due: Instant,
    /// When to send a heartbeat: one heartbeat interval after the last event.
    heartbeat_due: Instant,
    /// The maximum number of entries in one batch.
    batch: usize,
    /// The maximum number of conversations in one batch.
    announced_at_once: usize,
    /// When the token that opened the stream expires.
    expires: Timestamp,
    /// The call's deadline.
    deadline: Option<Instant>,
    /// The positions that the client sent.
    named: HashMap<ConversationId, i64>,
    /// The number of the last sent entry of each conversation.
    sent: HashMap<ConversationId, i64>,
    /// Conversations to announce, in order.
    unannounced: VecDeque<(ConversationId, i64)>,
    /// Conversations that may have unsent entries, without duplicates, in the order of their signals.
    dirty: VecDeque<ConversationId>,
    queued: HashSet<ConversationId>,
    /// Conversations with changed read marks.
    reads: HashSet<ConversationId>,
    /// The user has moved read marks in conversations that they have not accepted.
    own_reads: bool,
    /// All conversations must be compared, before the comparison is due.
    must_compare: bool,
    /// How long the database may be unavailable before the stream ends.
    database_patience: Duration,
    /// Since when steps have failed because the database is unavailable.
    failing_since: Option<Instant>,
    /// Events that the client has not read yet. At most one batch.
    outgoing: VecDeque<SubscribeResponse>,
    caught_up: bool,
    /// The stream ends after `outgoing`.
    ended: bool,
}

impl Subscription {
    pub(crate) fn new(
        service: &Messaging,
        mailbox: Mailbox,
        session: &UserSession,
        deadline: Option<Instant>,
        named: HashMap<ConversationId, i64>,
    ) -> Self {
        let budget = service.config.undelivered_bytes;
        let first_due = Instant::now() + service.config.heartbeat.0;
        Self {
            store: Arc::clone(&service.store),
            clock_rng: service.clock_rng.clone(),
            mailbox,
            heartbeat: service.config.heartbeat.0,
            comparison_due: first_due,
            heartbeat_due: first_due,
            batch: (budget / ENTRY_BYTES).max(1),
            announced_at_once: (budget / CONVERSATION_BYTES).max(1),
            expires: session.expires,
            deadline,
            named,
            sent: HashMap::new(),
            unannounced: VecDeque::new(),
            dirty: VecDeque::new(),
            queued: HashSet::new(),
            reads: HashSet::new(),
            own_reads: false,
            must_compare: false,
            database_patience: service.config.database_patience.0,
            failing_since: None,
            outgoing: VecDeque::new(),
            caught_up: false,
            ended: false,
        }
    }

    /// The events, and a status when the stream ends.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<SubscribeResponse, Status>> + Send {
        stream::unfold(self, |mut subscription| async move {
            let event = subscription.next().await?;
            subscription.ended |= event.is_err();
            Some((event, subscription))
        })
    }

    async fn next(&mut self) -> Option<Result<SubscribeResponse, Status>> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(end) = self.end() {
                return Some(Err(end));
            }
            if let Some(event) = self.outgoing.pop_front() {
                self.heartbeat_due = Instant::now() + self.heartbeat;
                return Some(Ok(event));
            }
            match self.advance().await {
                Ok(()) => self.failing_since = None,
                Err(status) if self.outlasts(&status) => self.pause().await,
                Err(status) => return Some(Err(status)),
            }
        }
    }

    /// Whether the stream repeats the step that failed with `status`. A database that is busy or fails over for a short
    /// time must not end all streams: they would all reconnect at once, and load it again.
    fn outlasts(&mut self, status: &Status) -> bool {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        status.code() == Code::Unavailable && since.elapsed() < self.database_patience
    }

    /// Waits before the next attempt, unless the stream must end.
    async fn pause(&self) {
        tokio::select! {
            () = sleep(self.clock_rng.between(MAX_PAUSE / 10, MAX_PAUSE)) => {}
            () = self.mailbox.stay().over() => {}
            () = self.mailbox.revoked() => {}
        }
    }

    /// Adds events to `outgoing`, or waits.
    async fn advance(&mut self) -> Result<(), Status> {
        self.take_marks();
        // A signal may be lost unnoticed: its replica was killed before it published, or only that replica is cut off.
        // So the comparison has its own timer, which no other event restarts.
        if self.must_compare || Instant::now() >= self.comparison_due {
            let _turn = self.mailbox.turn().await;
            self.compare_everything().await?;
            self.must_compare = false;
        }
        if self.own_reads {
            let _turn = self.mailbox.turn().await;
            self.reads.extend(self.store.requests(self.mailbox.user()).await?);
            self.own_reads = false;
        }
        if !self.unannounced.is_empty() {
            let _turn = self.mailbox.turn().await;
            self.announce().await
        } else if let Some(id) = self.dirty.front().copied() {
            let _turn = self.mailbox.turn().await;
            self.read(id).await
        } else if let Some(id) = self.reads.iter().next().copied() {
            let _turn = self.mailbox.turn().await;
            self.send_read_marks(id).await
        } else if !self.outgoing.is_empty() {
            Ok(())
        } else if self.caught_up {
            self.wait().await;
            Ok(())
        } else {
            self.caught_up = true;
            self.outgoing.push_back(event(Event::CaughtUp(CaughtUp {})));
            Ok(())
        }
    }

    /// Moves the marks of the mailbox into the state of the stream.
    fn take_marks(&mut self) {
        let marks = self.mailbox.take();
        self.must_compare |= marks.everything;
        self.own_reads |= marks.own_reads;
        for id in marks.conversations {
            self.enqueue(id);
        }
        self.reads.extend(marks.reads);
        if marks.invitations {
            self.outgoing.push_back(event(Event::InvitationsChanged(InvitationsChanged {})));
        }
    }

    /// The status with which the stream must end now, if any.
    fn end(&self) -> Option<Status> {
        if self.mailbox.stay().is_over() {
            return Some(error::stopping());
        }
        if self.mailbox.is_revoked() {
            let message = "the session was ended; sign in again";
            return Some(error::status(Code::Unauthenticated, "SESSION_REVOKED", message));
        }
        if self.clock_rng.now() >= self.expires {
            let message = "the access token has expired; refresh it and subscribe again";
            return Some(error::status(Code::Unauthenticated, "TOKEN_EXPIRED", message));
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(error::status(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the deadline of the stream has passed",
            ));
        }
        None
    }

    /// Compares the heads of all conversations with the sent positions. Follows new conversations first and then reads
    /// the heads again, so that no entry is missed in between.
    async fn compare_everything(&mut self) -> Result<(), Status> {
        loop {
            let heads = self.store.heads(self.mailbox.user()).await?;
            let mut added = false;
            for (id, _) in &heads {
                added |= self.mailbox.follow(*id);
            }
            if !added {
                self.comparison_due = Instant::now() + self.heartbeat;
                return self.compare(heads);
            }
        }
    }

    /// Continues in each conversation. Fails for a position that the store has lost.
    fn compare(&mut self, heads: Vec<(ConversationId, i64)>) -> Result<(), Status> {
        self.drop_left(&heads);
        for (id, head) in heads {
            let (sent, named) = (self.sent.get(&id).copied(), self.named.remove(&id));
            match step(sent, named, head, self.caught_up) {
                Step::Lost => return Err(wire::epoch_changed()),
                Step::UpToDate => {}
                Step::Read => self.enqueue(id),
                Step::Begin { after, is_announced } => {
                    self.sent.insert(id, after);
                    if is_announced {
                        self.unannounced.push_back((id, after));
                    }
                    self.enqueue(id);
                }
            }
        }
        Ok(())
    }

    /// Drops conversations that the user is not a member of (any longer), and reports each to the client.
    fn drop_left(&mut self, heads: &[(ConversationId, i64)]) {
        let own: HashSet<ConversationId> = heads.iter().map(|(id, _)| *id).collect();
        let known = self.sent.keys().chain(self.named.keys());
        let left: HashSet<ConversationId> = known.filter(|id| !own.contains(id)).copied().collect();
        for id in left {
            self.sent.remove(&id);
            self.named.remove(&id);
            self.unannounced.retain(|(of, _)| *of != id);
            self.mailbox.forget(id);
            self.outgoing
                .push_back(event(Event::ConversationLeft(ConversationLeft { conversation_id: id.to_string() })));
        }
    }

    async fn send_read_marks(&mut self, id: ConversationId) -> Result<(), Status> {
        let marks = self.store.read_marks(id, self.mailbox.user()).await?;
        self.reads.remove(&id);
        if !marks.is_empty() {
            self.outgoing.push_back(event(Event::ReadMarks(wire::read_marks(id, &marks))));
        }
        Ok(())
    }

    fn enqueue(&mut self, id: ConversationId) {
        if self.queued.insert(id) {
            self.dirty.push_back(id);
        }
    }

    /// Announces one batch of conversations, in two statements. Omits those that the user has left in between.
    async fn announce(&mut self) -> Result<(), Status> {
        let some = self.unannounced.len().min(self.announced_at_once);
        let ids: Vec<_> = self.unannounced.range(..some).map(|(id, _)| *id).collect();
        let conversations = self.store.find_all(&ids, self.mailbox.user()).await?;
        let from: HashMap<_, _> = self.unannounced.drain(..some).collect();
        for found in conversations {
            let cursor = self.cursor(found.id, from.get(&found.id).copied().unwrap_or_default());
            self.outgoing.push_back(event(Event::Conversation(wire::conversation(found, cursor))));
        }
        Ok(())
    }

    /// Reads one batch of entries of `id`, the first in the queue.
    async fn read(&mut self, id: ConversationId) -> Result<(), Status> {
        let entries = match self.sent.get(&id).copied() {
            Some(after) => self.store.list_entries(id, self.mailbox.user(), after, self.batch).await?,
            None => Vec::new(),
        };
        self.dirty.pop_front();
        self.queued.remove(&id);
        if entries.len() == self.batch {
            // There may be more entries: queue the conversation behind the others, so that a long log does not starve
            // them.
            self.enqueue(id);
        }
        for entry in entries {
            self.sent.insert(id, entry.seq);
            let event = self.new_entry(entry);
            self.outgoing.push_back(event);
        }
        Ok(())
    }

    /// Waits for a mark, a reason to end, or the next comparison or heartbeat.
    async fn wait(&mut self) {
        let left = self.clock_rng.now().until(self.expires);
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + left);
        tokio::select! {
            () = self.mailbox.marked() => {}
            () = self.mailbox.stay().over() => {}
            () = self.mailbox.revoked() => {}
            () = sleep(left) => {}
            () = sleep_until(deadline) => {}
            () = sleep_until(self.comparison_due) => {}
            () = sleep_until(self.heartbeat_due) => self.outgoing.push_back(event(Event::CaughtUp(CaughtUp {}))),
        }
    }

    fn new_entry(&self, entry: Entry) -> SubscribeResponse {
        let cursor = self.cursor(entry.conversation, entry.seq);
        event(Event::Entry(NewEntry { entry: Some(entry.into()), cursor }))
    }

    fn cursor(&self, conversation: ConversationId, seq: i64) -> String {
        Cursor { epoch: self.store.epoch(), conversation, seq }.encode()
    }
}

fn event(event: Event) -> SubscribeResponse {
    SubscribeResponse { event: Some(event) }
}
