// The state of a signed-in user's page, which the feed keeps current.

import { isUnauthenticated, type messaging, type Outbox, reasonOf, type Trellis } from "../../../client/src/index.js";
import { Blocks } from "./blocks.js";
import { People } from "./people.js";
import { Thread } from "./thread.js";

/** `lost`: the server refused the feed permanently; the user has to reload the page. */
export type Connection = "connecting" | "live" | "reconnecting" | "lost";

const PAGE = 50;
/** The maximum number of unread messages to load before a conversation opens at the first of them. */
const MOST_UNREAD = 500n;
const MEMBERS_PAGE = 100;
/** The default maximum of pending invitations of a user. */
const INVITATIONS = 100;

export class Chats {
  readonly userId: string;
  readonly outbox: Outbox;
  readonly people: People;
  readonly blocks: Blocks;
  connection: Connection = "connecting";
  /** The user's pending invitations, newest first. */
  invitations: readonly messaging.Invitation[] = [];
  readonly #trellis: Trellis;
  readonly #threads = new Map<string, Thread>();
  readonly #listeners = new Set<() => void>();
  readonly #end = new AbortController();
  readonly #onMessage: (thread: Thread, entry: messaging.Entry) => void;
  /** The conversations with a MarkRead call in progress. */
  readonly #sendingReadMark = new Set<Thread>();
  #openId: string | undefined;

  /** `onMessage` is called with each new message of another user. */
  constructor(trellis: Trellis, userId: string, onMessage: (thread: Thread, entry: messaging.Entry) => void) {
    this.#trellis = trellis;
    this.userId = userId;
    this.#onMessage = onMessage;
    this.people = new People(trellis.users, () => this.changed());
    this.blocks = new Blocks(trellis.messaging, () => this.changed());
    this.outbox = trellis.outbox(userId);
    this.outbox.onChange(() => this.changed());
    this.outbox.onSent((entry) => this.#threads.get(entry.conversationId)?.take(entry));
    void this.#follow();
  }

  /** Notifies the listeners of a change. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each change. Returns a function that removes it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** All conversations, the most recently active first. */
  get threads(): Thread[] {
    return [...this.#threads.values()].sort((a, b) => b.activeTime.getTime() - a.activeTime.getTime());
  }

  thread(id: string): Thread | undefined {
    return this.#threads.get(id);
  }

  get unread(): number {
    return this.threads.reduce((sum, thread) => sum + thread.unread, 0);
  }

  /** Opens a conversation, or none. */
  open(id: string | undefined): void {
    this.#openId = id;
    this.#lookAtOpen();
    this.changed();
  }

  /** The user has seen the messages of a conversation up to `messageNo` on the screen. */
  seen(thread: Thread, messageNo: bigint): void {
    if (!thread.see(messageNo)) return;
    void this.#sendReadMark(thread);
    this.changed();
  }

  /** Reads the next older page. */
  async readOlder(thread: Thread): Promise<void> {
    if (thread.history === "loading" || thread.history === "complete") return;
    thread.history = "loading";
    this.changed();
    try {
      const request = { conversationId: thread.id, pageSize: PAGE, pageToken: thread.pageToken };
      const { entries, nextPageToken } = await this.#trellis.messaging.listMessages(request, this.#options);
      thread.addPage(entries);
      thread.pageToken = nextPageToken;
      thread.history = nextPageToken ? "more" : "complete";
      // The page opens at the first unread message, so it is loaded first.
      if (thread.reachesBeforeUnread(MOST_UNREAD)) void this.readOlder(thread);
    } catch (error) {
      // A replica of another release may not read the token: the history is read from its start again.
      if (reasonOf(error) === "PAGE_TOKEN_INVALID") thread.pageToken = "";
      thread.history = "failed";
    }
    this.changed();
  }

  /** Reads the next page of the members. */
  async readMembers(thread: Thread): Promise<void> {
    if (thread.knowsAllMembers) return;
    const request = { conversationId: thread.id, pageSize: MEMBERS_PAGE, pageToken: thread.membersToken };
    const { members, nextPageToken } = await this.#trellis.messaging.listMembers(request, this.#options);
    thread.learnMembers(members, nextPageToken);
    this.changed();
  }

  /** Reads the invitations again. After a failure they are read when the feed is live again. */
  async readInvitations(): Promise<void> {
    try {
      this.invitations = (await this.#trellis.messaging.listInvitations({ pageSize: INVITATIONS }, this.#options)).invitations;
      this.changed();
    } catch {
      // The next connection retries.
    }
  }

  /** Creates a conversation. Returns it and the users who were only invited. A repeat with `requestId` returns the same one. */
  async create(requestId: string, memberIds: string[], title: string): Promise<{ thread: Thread; invitedIds: string[] }> {
    const request = { requestId, memberIds, title };
    const { conversation, invitedIds } = await this.#trellis.messaging.createConversation(request, this.#options);
    if (!conversation) throw new Error("the response has no conversation");
    const thread = this.learn(conversation);
    this.changed();
    return { thread, invitedIds };
  }

  /** The untitled conversation with only this user, if there is one. */
  direct(withId: string): Thread | undefined {
    return this.threads.find(({ isDirect, memberIds }) => isDirect && memberIds.includes(withId));
  }

  /** Adds or updates a conversation from the server. */
  learn(conversation: messaging.Conversation): Thread {
    const known = this.#threads.get(conversation.conversationId);
    known?.learn(conversation);
    const thread = known ?? new Thread(this.userId, conversation);
    this.#threads.set(thread.id, thread);
    if (thread.id === this.#openId) this.#lookAtOpen();
    return thread;
  }

  /** Drops a conversation that the user has left. */
  leave(conversationId: string): void {
    this.#threads.delete(conversationId);
    this.changed();
  }

  /** Stops all calls. Unsent messages stay stored for the next visit. */
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
        else if (event.kind === "left") this.leave(event.conversationId);
        else if (event.kind === "invitations") void this.readInvitations();
        else if (event.kind === "reset") this.#forget();
        else if (event.kind === "live") this.#live();
        else this.connection = "reconnecting";
        this.changed();
      }
    } catch (error) {
      // At the end of a session the sign-in page replaces this one. Other errors are shown.
      if (isUnauthenticated(error)) return;
      this.connection = "lost";
      this.changed();
    }
  }

  /** Retries what failed without a connection. */
  #live(): void {
    if (this.connection === "live") return;
    this.connection = "live";
    this.people.refresh();
    void this.readInvitations();
    void this.#readBlocks();
    this.#lookAtOpen();
    for (const thread of this.#threads.values()) void this.#sendReadMark(thread);
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
    // Loads the read marks of members beyond the first ones. After a failure, the details dialog loads them again.
    if (thread?.membersToken === "") void this.readMembers(thread).catch(() => {});
  }

  /** Sends the user's read mark to the server, one call at a time. A failed call is retried when the feed is live again. */
  async #sendReadMark(thread: Thread): Promise<void> {
    if (this.#sendingReadMark.has(thread)) return;
    this.#sendingReadMark.add(thread);
    try {
      while (thread.readNo > thread.acknowledgedNo) {
        const request = { conversationId: thread.id, messageNo: thread.readNo };
        await this.#trellis.messaging.markRead(request, this.#options);
        thread.acknowledge(request.messageNo);
      }
    } catch {
      // The next message or connection sends the mark again.
    } finally {
      this.#sendingReadMark.delete(thread);
    }
  }

  #take(entry: messaging.Entry): void {
    const thread = this.#threads.get(entry.conversationId);
    if (!thread?.take(entry) || entry.body.case !== "message") return;
    if (entry.authorId === this.userId) {
      this.outbox.drop(entry.body.value.clientMessageId);
      return;
    }
    this.#onMessage(thread, entry);
  }

  #forget(): void {
    for (const thread of this.#threads.values()) thread.forget();
  }
}
