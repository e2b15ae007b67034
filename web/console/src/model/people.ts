// The profiles that the page shows, read once and together.

import type { Trellis, users } from "../../../client/src/index.js";

export interface Person {
  readonly id: string;
  readonly name: string;
  /** Empty while the profile is not known. */
  readonly handle: string;
}

/** What one BatchGetUsers takes. */
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

  /** The person as far as known; an unknown one is asked for. */
  get(id: string): Person {
    const known = this.#known.get(id);
    if (known) return known;
    this.#wanted.add(id);
    // In a microtask: one render asks for many.
    queueMicrotask(() => void this.read());
    return { id, name: "…", handle: "" };
  }

  learn(profiles: readonly users.User[]): void {
    for (const { userId: id, displayName: name, handle } of profiles) this.#known.set(id, { id, name, handle });
  }

  /** Reads everybody again: who was away may have missed a new name. */
  refresh(): void {
    for (const id of this.#known.keys()) this.#wanted.add(id);
    void this.read();
  }

  /** Reads who is wanted. After a failure they stay wanted, until the next call. */
  async read(): Promise<void> {
    if (this.#reading || this.#wanted.size === 0) return;
    this.#reading = true;
    const userIds = [...this.#wanted].slice(0, BATCH);
    try {
      const answer = await this.#users.batchGetUsers({ userIds });
      this.learn(answer.users);
      const found = new Set(answer.users.map(({ userId }) => userId));
      for (const id of userIds) {
        if (!found.has(id)) this.#known.set(id, { id, name: "Somebody who left", handle: "" });
        this.#wanted.delete(id);
      }
      this.#changed();
    } catch {
      // The feed's next sign of a connection calls again.
      return;
    } finally {
      this.#reading = false;
    }
    await this.read();
  }
}
