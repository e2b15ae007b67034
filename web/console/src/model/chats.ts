// Everything that a signed-in user's page shows, kept true by the feed.

import { isUnauthenticated, type messaging, type Outbox, type Trellis } from "../../../client/src/index.js";
import { Gate } from "./gate.js";
import { People } from "./people.js";
import { Thread } from "./thread.js";

/** `lost`: the server refused the feed for good; only a reload helps. */
export type Connection = "connecting" | "live" | "reconnecting" | "lost";

const PAGE = 50;
/** Conversations whose first page is read at the same time. */
const READS = 4;

export class Chats {
  readonly userId: string;
  readonly outbox: Outbox;
  readonly people: People;
  connection: Connection = "connecting";
  readonly #trellis: Trellis;
  readonly #threads = new Map<string, Thread>();
  readonly #listeners = new Set<() => void>();
  readonly #reads = new Gate(READS);
  readonly #end = new AbortController();
  readonly #heard: (thread: Thread, entry: messaging.Entry) => void;
  #openId: string | undefined;

  /** `heard` is called with what others say while the page is open. */
  constructor(trellis: Trellis, userId: string, heard: (thread: Thread, entry: messaging.Entry) => void) {
    this.#trellis = trellis;
    this.userId = userId;
    this.#heard = heard;
    this.people = new People(trellis.users, () => this.#changed());
    this.outbox = trellis.outbox(userId);
    this.outbox.onChange(() => this.#changed());
    this.outbox.onSent((entry) => this.#threads.get(entry.conversationId)?.timeline.add(entry));
    void this.#follow();
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
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
    this.markRead();
    this.#changed();
  }

  /** What is open counts as read while the page is looked at. */
  markRead(): void {
    const thread = this.#threads.get(this.#openId ?? "");
    if (!thread || thread.unread === 0 || document.visibilityState !== "visible") return;
    thread.unread = 0;
    this.#changed();
  }

  /** Reads one page further back. */
  async readOlder(thread: Thread): Promise<void> {
    if (thread.history === "loading" || thread.history === "complete") return;
    thread.history = "loading";
    this.#changed();
    try {
      const request = { conversationId: thread.id, pageSize: PAGE, pageToken: thread.pageToken };
      const { entries, nextPageToken } = await this.#trellis.messaging.listMessages(request, this.#options);
      for (const entry of entries) thread.timeline.add(entry);
      thread.pageToken = nextPageToken;
      thread.history = nextPageToken ? "more" : "complete";
    } catch {
      thread.history = "failed";
    }
    this.#changed();
  }

  /** Opens a conversation. `requestId` makes a repeat answer the same one. */
  async create(requestId: string, memberIds: string[], title: string): Promise<Thread> {
    const request = { requestId, memberIds, title };
    const { conversation } = await this.#trellis.messaging.createConversation(request, this.#options);
    if (!conversation) throw new Error("the answer holds no conversation");
    return this.#learn(conversation);
  }

  /** The conversation of just these two, if there is one without a name of its own. */
  direct(withId: string): Thread | undefined {
    return this.threads.find(({ title, memberIds }) => {
      return title === "" && memberIds.length === 2 && memberIds.includes(withId);
    });
  }

  /** Stops everything. What is not sent yet waits for the next visit. */
  close(): void {
    this.#end.abort();
    this.outbox.close();
  }

  get #options(): { signal: AbortSignal } {
    return { signal: this.#end.signal };
  }

  async #follow(): Promise<void> {
    try {
      for await (const event of this.#trellis.follow(new Map(), this.#end.signal)) {
        if (event.kind === "conversation") this.#learn(event.conversation);
        else if (event.kind === "entry") this.#take(event.entry);
        else if (event.kind === "left") this.#threads.delete(event.conversationId);
        else if (event.kind === "reset") this.#forget();
        else if (event.kind === "live") this.#live();
        else this.connection = "reconnecting";
        this.#changed();
      }
    } catch (error) {
      // An ended session takes the whole page away; anything else is said.
      if (isUnauthenticated(error)) return;
      this.connection = "lost";
      this.#changed();
    }
  }

  /** There is a connection: what failed for want of one is tried again. */
  #live(): void {
    if (this.connection === "live") return;
    this.connection = "live";
    void this.people.read();
    for (const thread of this.#threads.values()) {
      if (thread.history === "failed") void this.#reads.run(() => this.readOlder(thread));
    }
  }

  #learn(conversation: messaging.Conversation): Thread {
    const known = this.#threads.get(conversation.conversationId);
    if (known) {
      if (known.history === "unread") void this.#reads.run(() => this.readOlder(known));
      return known;
    }
    const thread = new Thread(conversation);
    this.#threads.set(thread.id, thread);
    void this.#reads.run(() => this.readOlder(thread));
    return thread;
  }

  #take(entry: messaging.Entry): void {
    const thread = this.#threads.get(entry.conversationId);
    if (!thread?.timeline.add(entry) || entry.body.case !== "message") return;
    if (entry.authorId === this.userId) {
      this.outbox.drop(entry.body.value.clientMessageId);
      return;
    }
    thread.unread += 1;
    this.markRead();
    this.#heard(thread, entry);
  }

  #forget(): void {
    for (const thread of this.#threads.values()) thread.forget();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
