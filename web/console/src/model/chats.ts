// Everything that a signed-in user's page shows, kept true by the feed.

import { isUnauthenticated, type messaging, type Outbox, type Trellis } from "../../../client/src/index.js";
import { Blocks } from "./blocks.js";
import { People } from "./people.js";
import { Thread } from "./thread.js";

/** `lost`: the server refused the feed for good; only a reload helps. */
export type Connection = "connecting" | "live" | "reconnecting" | "lost";

const PAGE = 50;
/** How many unread messages are loaded at once, at most, to open a conversation at the first of them. */
const MOST_UNREAD = 500n;
const MEMBERS_PAGE = 100;
/** As many as wait for a user at most, by default. */
const INVITATIONS = 100;

export class Chats {
  readonly userId: string;
  readonly outbox: Outbox;
  readonly people: People;
  readonly blocks: Blocks;
  connection: Connection = "connecting";
  /** Invitations that wait for the user, the newest first. */
  invitations: readonly messaging.Invitation[] = [];
  readonly #trellis: Trellis;
  readonly #threads = new Map<string, Thread>();
  readonly #listeners = new Set<() => void>();
  readonly #end = new AbortController();
  readonly #heard: (thread: Thread, entry: messaging.Entry) => void;
  /** Conversations whose read mark is on its way to the server. */
  readonly #telling = new Set<Thread>();
  #openId: string | undefined;

  /** `heard` is called with what others say while the page is open. */
  constructor(trellis: Trellis, userId: string, heard: (thread: Thread, entry: messaging.Entry) => void) {
    this.#trellis = trellis;
    this.userId = userId;
    this.#heard = heard;
    this.people = new People(trellis.users, () => this.changed());
    this.blocks = new Blocks(trellis.messaging, () => this.changed());
    this.outbox = trellis.outbox(userId);
    this.outbox.onChange(() => this.changed());
    this.outbox.onSent((entry) => this.#threads.get(entry.conversationId)?.take(entry));
    void this.#follow();
  }

  /** Tells the page that something has changed. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls back after each change. Answers how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The most recently active first. */
  get threads(): Thread[] {
    return [...this.#threads.values()].sort((a, b) => b.activeTime.getTime() - a.activeTime.getTime());
  }

  thread(id: string): Thread | undefined {
    return this.#threads.get(id);
  }

  get unread(): number {
    return this.threads.reduce((sum, thread) => sum + thread.unread, 0);
  }

  /** The user looks at this conversation now. */
  open(id: string | undefined): void {
    this.#openId = id;
    this.#lookAtOpen();
    this.changed();
  }

  /** The user has seen the messages of a conversation up to `messageNo` on the screen. */
  seen(thread: Thread, messageNo: bigint): void {
    if (!thread.see(messageNo)) return;
    void this.#tellRead(thread);
    this.changed();
  }

  /** Reads one page further back. */
  async readOlder(thread: Thread): Promise<void> {
    if (thread.history === "loading" || thread.history === "complete") return;
    thread.history = "loading";
    this.changed();
    try {
      const request = { conversationId: thread.id, pageSize: PAGE, pageToken: thread.pageToken };
      const { entries, nextPageToken } = await this.#trellis.messaging.listMessages(request, this.#options);
      for (const entry of entries) thread.timeline.add(entry);
      thread.pageToken = nextPageToken;
      thread.history = nextPageToken ? "more" : "complete";
      // The page opens at the first unread message, so it is loaded first.
      if (thread.reachesBeforeUnread(MOST_UNREAD)) void this.readOlder(thread);
    } catch {
      thread.history = "failed";
    }
    this.changed();
  }

  /** Reads one page of the members on. */
  async readMembers(thread: Thread): Promise<void> {
    if (thread.knowsAllMembers) return;
    const request = { conversationId: thread.id, pageSize: MEMBERS_PAGE, pageToken: thread.membersToken };
    const { members, nextPageToken } = await this.#trellis.messaging.listMembers(request, this.#options);
    thread.learnMembers(members, nextPageToken);
    this.changed();
  }

  /** Reads the invitations again. What fails is read at the next sign of a connection. */
  async readInvitations(): Promise<void> {
    try {
      this.invitations = (await this.#trellis.messaging.listInvitations({ pageSize: INVITATIONS }, this.#options)).invitations;
      this.changed();
    } catch {
      // Nobody waits for it.
    }
  }

  /** Opens a conversation, and says who was invited only. `requestId` makes a repeat return the same one. */
  async create(requestId: string, memberIds: string[], title: string): Promise<{ thread: Thread; invitedIds: string[] }> {
    const request = { requestId, memberIds, title };
    const { conversation, invitedIds } = await this.#trellis.messaging.createConversation(request, this.#options);
    if (!conversation) throw new Error("the response has no conversation");
    const thread = this.learn(conversation);
    this.changed();
    return { thread, invitedIds };
  }

  /** The conversation of just these two, if there is one without a name of its own. */
  direct(withId: string): Thread | undefined {
    return this.threads.find(({ isDirect, memberIds }) => isDirect && memberIds.includes(withId));
  }

  /** Takes a conversation as the server tells it. */
  learn(conversation: messaging.Conversation): Thread {
    const known = this.#threads.get(conversation.conversationId);
    known?.learn(conversation);
    const thread = known ?? new Thread(this.userId, conversation);
    this.#threads.set(thread.id, thread);
    if (thread.id === this.#openId) this.#lookAtOpen();
    return thread;
  }

  /** Stops everything. What is not sent yet waits for the next visit. */
  close(): void {
    this.#end.abort();
    this.outbox.close();
  }

  get #options(): { signal: AbortSignal } {
    return { signal: this.#end.signal };
  }

  get #openThread(): Thread | undefined {
    return this.#threads.get(this.#openId ?? "");
  }

  async #follow(): Promise<void> {
    try {
      for await (const event of this.#trellis.follow(new Map(), this.#end.signal)) {
        if (event.kind === "conversation") this.learn(event.conversation);
        else if (event.kind === "entry") this.#take(event.entry);
        else if (event.kind === "read") this.#threads.get(event.conversationId)?.mark(event.marks);
        else if (event.kind === "left") this.#threads.delete(event.conversationId);
        else if (event.kind === "invitations") void this.readInvitations();
        else if (event.kind === "reset") this.#forget();
        else if (event.kind === "live") this.#live();
        else this.connection = "reconnecting";
        this.changed();
      }
    } catch (error) {
      // An ended session takes the whole page away; anything else is said.
      if (isUnauthenticated(error)) return;
      this.connection = "lost";
      this.changed();
    }
  }

  /** There is a connection: what failed for want of one is tried again. */
  #live(): void {
    if (this.connection === "live") return;
    this.connection = "live";
    this.people.refresh();
    void this.readInvitations();
    void this.#readBlocks();
    this.#lookAtOpen();
    for (const thread of this.#threads.values()) void this.#tellRead(thread);
  }

  /** Reads the blocks, which other devices may have changed. After a failure the next connection reads them. */
  async #readBlocks(): Promise<void> {
    try {
      await this.blocks.read();
    } catch {
      // The server, not this list, decides what is refused.
    }
  }

  /** Loads the messages of the open conversation. */
  #lookAtOpen(): void {
    const thread = this.#openThread;
    if (thread?.history === "unread" || thread?.history === "failed") void this.readOlder(thread);
    // Who has read what, in a group that shows only its first members by itself. A failure is made good when the details open.
    if (thread?.membersToken === "") void this.readMembers(thread).catch(() => {});
  }

  /** Tells the server how far the user has read, one call after another; it tries a failed one when it is live again. */
  async #tellRead(thread: Thread): Promise<void> {
    if (this.#telling.has(thread)) return;
    this.#telling.add(thread);
    try {
      while (thread.readNo > thread.acknowledgedNo) {
        const request = { conversationId: thread.id, messageNo: thread.readNo };
        await this.#trellis.messaging.markRead(request, this.#options);
        thread.acknowledge(request.messageNo);
      }
    } catch {
      // Nobody waits for it, and nothing is lost: the next message or connection tells it again.
    } finally {
      this.#telling.delete(thread);
    }
  }

  #take(entry: messaging.Entry): void {
    const thread = this.#threads.get(entry.conversationId);
    if (!thread?.take(entry) || entry.body.case !== "message") return;
    if (entry.authorId === this.userId) {
      this.outbox.drop(entry.body.value.clientMessageId);
      return;
    }
    this.#heard(thread, entry);
  }

  #forget(): void {
    for (const thread of this.#threads.values()) thread.forget();
  }
}
