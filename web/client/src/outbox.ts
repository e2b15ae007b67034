// Sends messages until the server acknowledges them. Each message has an id with which the server stores it once.
// Within a conversation, messages are sent one at a time, in the order in which they were written.

import { Backoff, waitAfter } from "./backoff.js";
import type { KeyValueStore } from "./browser.js";
import { isRefused, isSessionEnd, isTransient } from "./errors.js";
import type { Entry } from "./gen/trellis/messaging/v1/messaging_pb.js";
import { type Outgoing, OutboxStore } from "./outbox-store.js";

export interface OutboxParts {
  /** The user who writes the messages. */
  readonly userId: string;
  readonly send: (message: Outgoing, signal: AbortSignal) => Promise<Entry>;
  readonly store: KeyValueStore;
  readonly newId?: () => string;
  readonly newBackoff?: () => Backoff;
}

/** The maximum number of messages is pending. */
export class OutboxFull extends Error {
  override readonly name = "OutboxFull";
}

/** The number of unexpected errors in a row after which a message fails. About a minute in total. */
const UNEXPECTED_ATTEMPTS = 12;

export class Outbox {
  readonly #send: OutboxParts["send"];
  readonly #newId: () => string;
  readonly #newBackoff: () => Backoff;
  readonly #store: OutboxStore;
  readonly #messages: Outgoing[];
  /** The conversations in which a message is being sent. */
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
    for (const { conversationId } of this.#messages) this.#startWorker(conversationId);
  }

  /** Calls `listener` when the messages of a conversation, or their states, change. */
  onChange(listener: (conversationId: string) => void): void {
    this.#changed.add(listener);
  }

  /** Calls `listener` with each message as the server stored it. */
  onSent(listener: (entry: Entry) => void): void {
    this.#sent.add(listener);
  }

  /** The messages that are not acknowledged, in the order of writing. */
  of(conversationId: string): Outgoing[] {
    return this.#messages.filter((message) => message.conversationId === conversationId);
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  /** Adds a message, and sends it after the earlier ones. */
  enqueue(conversationId: string, text: string): Outgoing {
    if (this.#messages.length >= OutboxStore.CAPACITY) throw new OutboxFull("too many messages are waiting to be sent");
    const message: Outgoing = {
      clientMessageId: this.#newId(),
      conversationId,
      text,
      writtenAtMs: this.#now(),
      state: "waiting",
    };
    this.#messages.push(message);
    this.#save(message);
    this.#startWorker(conversationId);
    return message;
  }

  /** Sends a failed message again, after the pending ones. */
  retry(clientMessageId: string): void {
    const message = this.#remove(clientMessageId);
    if (!message) return;
    const { error: _, ...rest } = message;
    const again: Outgoing = { ...rest, writtenAtMs: this.#now(), state: "waiting" };
    this.#messages.push(again);
    this.#save(again);
    this.#startWorker(again.conversationId);
  }

  /** Removes a message: the user discarded it, or the feed delivered it. */
  drop(clientMessageId: string): void {
    const message = this.#remove(clientMessageId);
    if (!message) return;
    this.#store.remove(message);
    this.#notify(message.conversationId);
  }

  /** Stops sending. Pending messages stay stored for the user's next visit. */
  close(): void {
    this.#end.abort();
  }

  /** Stops sending and removes all pending messages from the storage, because the user signs out. */
  clear(): void {
    this.close();
    this.#messages.length = 0;
    this.#store.clear();
  }

  #startWorker(conversationId: string): void {
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
        // Synchronous with the check above: a message that is added later starts a new worker.
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
        // The session has ended: pending messages stay stored for the user's next session.
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
    // The user discarded it meanwhile.
    if (place < 0) return;
    const failed: Outgoing = { ...message, state: "failed", error };
    this.#messages[place] = failed;
    this.#save(failed);
  }

  #save(message: Outgoing): void {
    this.#store.save(message);
    this.#notify(message.conversationId);
  }

  #remove(clientMessageId: string): Outgoing | undefined {
    const place = this.#messages.findIndex((message) => message.clientMessageId === clientMessageId);
    return place < 0 ? undefined : this.#messages.splice(place, 1)[0];
  }

  /** The time, strictly increasing, so that the order of writing survives a reload. */
  #now(): number {
    return Math.max(Date.now(), (this.#messages.at(-1)?.writtenAtMs ?? 0) + 1);
  }

  #notify(conversationId: string): void {
    for (const listener of this.#changed) listener(conversationId);
  }
}
