// Messages on their way. Each is sent until the server has acknowledged it, under an id that makes repeats
// harmless; within a conversation they go one after another, in the order in which they were written.

import { Backoff, waitAfter } from "./backoff.js";
import type { KeyValueStore } from "./browser.js";
import { isRefused, isSessionEnd, isTransient } from "./errors.js";
import type { Entry } from "./gen/trellis/messaging/v1/messaging_pb.js";
import { type Outgoing, OutboxStore } from "./outbox-store.js";

export interface OutboxParts {
  /** Whose messages these are. */
  readonly userId: string;
  readonly send: (message: Outgoing, signal: AbortSignal) => Promise<Entry>;
  readonly store: KeyValueStore;
  readonly newId?: () => string;
  readonly newBackoff?: () => Backoff;
}

/** Too many messages wait already. */
export class OutboxFull extends Error {
  override readonly name = "OutboxFull";
}

/** How often in a row an unexpected error is retried before the message counts as failed. About a minute in all. */
const UNEXPECTED_ATTEMPTS = 12;

export class Outbox {
  readonly #send: OutboxParts["send"];
  readonly #newId: () => string;
  readonly #newBackoff: () => Backoff;
  readonly #store: OutboxStore;
  readonly #messages: Outgoing[];
  /** Conversations in which something is being sent. */
  readonly #busy = new Set<string>();
  readonly #end = new AbortController();
  readonly #changed = new Set<(conversationId: string) => void>();
  readonly #sent = new Set<(entry: Entry) => void>();

  constructor({ userId, send, store, newId, newBackoff }: OutboxParts) {
    this.#send = send;
    this.#newId = newId ?? (() => crypto.randomUUID());
    this.#newBackoff = newBackoff ?? (() => new Backoff());
    this.#store = new OutboxStore(store, userId);
    this.#messages = this.#store.load();
    for (const { conversationId } of this.#messages) this.#work(conversationId);
  }

  /** Calls back when the messages of a conversation, or their states, have changed. */
  onChange(listener: (conversationId: string) => void): void {
    this.#changed.add(listener);
  }

  /** Calls back with each message as the server stored it. */
  onSent(listener: (entry: Entry) => void): void {
    this.#sent.add(listener);
  }

  /** What has not been acknowledged, in the order of writing. */
  of(conversationId: string): Outgoing[] {
    return this.#messages.filter((message) => message.conversationId === conversationId);
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  /** Takes a message; sends it as soon as those before it are gone. */
  enqueue(conversationId: string, text: string): Outgoing {
    if (this.#messages.length >= OutboxStore.CAPACITY) throw new OutboxFull("too many messages wait to be sent");
    const message: Outgoing = {
      clientMessageId: this.#newId(),
      conversationId,
      text,
      writtenAtMs: this.#now(),
      state: "waiting",
    };
    this.#messages.push(message);
    this.#save(message);
    this.#work(conversationId);
    return message;
  }

  /** Sends a failed message again, after those that wait. */
  retry(clientMessageId: string): void {
    const message = this.#remove(clientMessageId);
    if (!message) return;
    const { error: _, ...rest } = message;
    const again: Outgoing = { ...rest, writtenAtMs: this.#now(), state: "waiting" };
    this.#messages.push(again);
    this.#save(again);
    this.#work(again.conversationId);
  }

  /** Gives a message up, or takes note that the feed has shown it. */
  drop(clientMessageId: string): void {
    const message = this.#remove(clientMessageId);
    if (!message) return;
    this.#store.remove(message);
    this.#tell(message.conversationId);
  }

  /** Sends nothing more. What waits is kept for the user's next visit. */
  close(): void {
    this.#end.abort();
  }

  /** Forgets what waits, in other tabs too: the user signs out and leaves no text behind. */
  clear(): void {
    this.close();
    this.#messages.length = 0;
    this.#store.clear();
  }

  #work(conversationId: string): void {
    if (this.#busy.has(conversationId)) return;
    this.#busy.add(conversationId);
    void this.#drain(conversationId);
  }

  async #drain(conversationId: string): Promise<void> {
    const backoff = this.#newBackoff();
    let unexpected = 0;
    for (;;) {
      const next = this.of(conversationId).find(({ state }) => state === "waiting");
      if (!next || this.#end.signal.aborted) {
        // In the same breath as the look: a message that comes now starts a worker of its own.
        this.#busy.delete(conversationId);
        return;
      }
      try {
        const entry = await this.#send(next, this.#end.signal);
        backoff.reset();
        unexpected = 0;
        this.#acknowledge(next, entry);
      } catch (error) {
        if (this.#end.signal.aborted) continue;
        // The session is over: messages that wait are kept for the user's next session.
        if (isSessionEnd(error)) {
          this.close();
          continue;
        }
        if (!isTransient(error)) unexpected += 1;
        if (isRefused(error) || unexpected >= UNEXPECTED_ATTEMPTS) {
          unexpected = 0;
          this.#fail(next, error);
        } else await waitAfter(error, backoff, this.#end.signal);
      }
    }
  }

  #acknowledge(message: Outgoing, entry: Entry): void {
    for (const listener of this.#sent) listener(entry);
    this.drop(message.clientMessageId);
  }

  #fail(message: Outgoing, error: unknown): void {
    const place = this.#messages.findIndex(({ clientMessageId }) => clientMessageId === message.clientMessageId);
    // It was given up meanwhile.
    if (place < 0) return;
    const failed: Outgoing = { ...message, state: "failed", error };
    this.#messages[place] = failed;
    this.#save(failed);
  }

  #save(message: Outgoing): void {
    this.#store.save(message);
    this.#tell(message.conversationId);
  }

  #remove(clientMessageId: string): Outgoing | undefined {
    const place = this.#messages.findIndex((message) => message.clientMessageId === clientMessageId);
    return place < 0 ? undefined : this.#messages.splice(place, 1)[0];
  }

  /** The time, but never the same twice: the order of writing outlives a reload by it. */
  #now(): number {
    return Math.max(Date.now(), (this.#messages.at(-1)?.writtenAtMs ?? 0) + 1);
  }

  #tell(conversationId: string): void {
    for (const listener of this.#changed) listener(conversationId);
  }
}
