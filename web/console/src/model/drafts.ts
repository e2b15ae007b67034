// Unsent texts. They survive a reload; signing out removes them.

import type { KeyValueStore } from "../../../client/src/index.js";

/** The maximum number of drafts. A further draft replaces another one. */
const CAPACITY = 100;

export class Drafts {
  readonly #store: KeyValueStore;
  readonly #prefix: string;

  constructor(store: KeyValueStore, userId: string) {
    this.#store = store;
    this.#prefix = `trellis.draft.${userId}.`;
  }

  get(conversationId: string): string {
    return this.#store.get(this.#prefix + conversationId) ?? "";
  }

  set(conversationId: string, text: string): void {
    const key = this.#prefix + conversationId;
    if (text === "") return this.#store.remove(key);
    const keys = this.#keys();
    if (!keys.includes(key) && keys.length >= CAPACITY) this.#store.remove(keys[0] ?? "");
    this.#store.set(key, text);
  }

  clear(): void {
    for (const key of this.#keys()) this.#store.remove(key);
  }

  #keys(): string[] {
    return this.#store.keys().filter((key) => key.startsWith(this.#prefix));
  }
}
