// Caches the profiles that the page shows, and reads missing ones in batches.

import type { Trellis, users } from "../../../client/src/index.js";

export interface Person {
  readonly id: string;
  readonly name: string;
  /** Empty while the profile is not known. */
  readonly handle: string;
}

/** The maximum number of ids in one BatchGetUsers call. */
const BATCH = 100;

export class People {
  readonly #users: Trellis["users"];
  readonly #changed: () => void;
  readonly #known = new Map<string, Person>();
  readonly #wanted = new Set<string>();
  #reading = false;

  constructor(usersClient: Trellis["users"], changed: () => void) {
    this.#users = usersClient;
    this.#changed = changed;
  }

  /** Returns a person. Requests an unknown profile. */
  get(id: string): Person {
    const known = this.#known.get(id);
    if (known) return known;
    this.#wanted.add(id);
    // In a microtask, because one render requests many.
    queueMicrotask(() => void this.read());
    return { id, name: "…", handle: "" };
  }

  learn(profiles: readonly users.User[]): void {
    for (const { userId: id, displayName: name, handle } of profiles) this.#known.set(id, { id, name, handle });
  }

  /** Reads all profiles again, because names may have changed while the feed was disconnected. */
  refresh(): void {
    for (const id of this.#known.keys()) this.#wanted.add(id);
    void this.read();
  }

  /** Reads the wanted profiles. After a failure they stay wanted until the next call. */
  async read(): Promise<void> {
    if (this.#reading || this.#wanted.size === 0) return;
    this.#reading = true;
    const userIds = [...this.#wanted].slice(0, BATCH);
    try {
      const response = await this.#users.batchGetUsers({ userIds });
      this.learn(response.users);
      const found = new Set(response.users.map(({ userId }) => userId));
      for (const id of userIds) {
        if (!found.has(id)) this.#known.set(id, { id, name: "Former user", handle: "" });
        this.#wanted.delete(id);
      }
      this.#changed();
    } catch {
      // The next connection of the feed calls this again.
      return;
    } finally {
      this.#reading = false;
    }
    await this.read();
  }
}
