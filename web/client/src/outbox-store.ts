// Stores pending messages across reloads. Each message has its own key, so that tabs never overwrite each other's
// messages. If two tabs send the same message, the server stores it once.

import type { KeyValueStore } from "./browser.js";

export interface Outgoing {
  /** The server stores one message per id, however often it is sent. */
  readonly clientMessageId: string;
  readonly conversationId: string;
  readonly text: string;
  readonly writtenAtMs: number;
  readonly state: "waiting" | "failed";
  /** The error of a failed message. Not stored: after a reload a failed message is sent again. */
  readonly error?: unknown;
}

export class OutboxStore {
  /** The maximum number of pending messages. */
  static readonly CAPACITY = 200;

  readonly #store: KeyValueStore;
  readonly #prefix: string;

  constructor(store: KeyValueStore, userId: string) {
    this.#store = store;
    this.#prefix = `trellis.outbox.${userId}.`;
  }

  /** Returns the pending messages of an earlier visit, oldest first. */
  load(): Outgoing[] {
    return this.#keys()
      .map((key) => parse(this.#store.get(key)))
      .filter((message) => message !== undefined)
      .sort((a, b) => a.writtenAtMs - b.writtenAtMs)
      .slice(0, OutboxStore.CAPACITY);
  }

  save({ error: _, ...message }: Outgoing): void {
    this.#store.set(this.#prefix + message.clientMessageId, JSON.stringify(message));
  }

  remove({ clientMessageId }: Outgoing): void {
    this.#store.remove(this.#prefix + clientMessageId);
  }

  clear(): void {
    for (const key of this.#keys()) this.#store.remove(key);
  }

  #keys(): string[] {
    return this.#store.keys().filter((key) => key.startsWith(this.#prefix));
  }
}

/** Returns undefined for a value that is not a message: the user can change local storage. */
function parse(text: string | null): Outgoing | undefined {
  try {
    const { clientMessageId, conversationId, text: body, writtenAtMs } = JSON.parse(text ?? "{}") as Partial<Outgoing>;
    const complete = clientMessageId && conversationId && body && typeof writtenAtMs === "number";
    return complete ? { clientMessageId, conversationId, text: body, writtenAtMs, state: "waiting" } : undefined;
  } catch {
    return undefined;
  }
}
