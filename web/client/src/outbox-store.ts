// Where messages outlive a reload. Each has its own key, so that two tabs never overwrite each other's; a
// message that two tabs send is stored by the server once.

import type { KeyValueStore } from "./browser.js";

export interface Outgoing {
  /** Makes repeats harmless: the server stores it once. */
  readonly clientMessageId: string;
  readonly conversationId: string;
  readonly text: string;
  readonly writtenAtMs: number;
  readonly state: "waiting" | "failed";
  /** Why it failed. Not kept across a reload, after which a failed message is tried again. */
  readonly error?: unknown;
}

export class OutboxStore {
  /** How many messages may wait. */
  static readonly CAPACITY = 200;

  readonly #store: KeyValueStore;
  readonly #prefix: string;

  constructor(store: KeyValueStore, userId: string) {
    this.#store = store;
    this.#prefix = `trellis.outbox.${userId}.`;
  }

  /** What waits from an earlier visit, oldest first. */
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

/** Local storage belongs to the user: whatever stands there that is no message is passed over. */
function parse(text: string | null): Outgoing | undefined {
  try {
    const { clientMessageId, conversationId, text: said, writtenAtMs } = JSON.parse(text ?? "{}") as Partial<Outgoing>;
    const complete = clientMessageId && conversationId && said && typeof writtenAtMs === "number";
    return complete ? { clientMessageId, conversationId, text: said, writtenAtMs, state: "waiting" } : undefined;
  } catch {
    return undefined;
  }
}
