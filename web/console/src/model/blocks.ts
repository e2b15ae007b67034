// The users whom the user has blocked.

import type { Trellis } from "../../../client/src/index.js";

const PAGE = 100;

export class Blocks {
  readonly #messaging: Trellis["messaging"];
  readonly #changed: () => void;
  readonly #ids = new Set<string>();
  /** Counts the blocks and unblocks of this page. */
  #changes = 0;

  constructor(messagingClient: Trellis["messaging"], changed: () => void) {
    this.#messaging = messagingClient;
    this.#changed = changed;
  }

  has(userId: string): boolean {
    return this.#ids.has(userId);
  }

  get ids(): readonly string[] {
    return [...this.#ids];
  }

  /** Reads all of them again. The server bounds their number. */
  async read(): Promise<void> {
    const changes = this.#changes;
    const ids: string[] = [];
    let pageToken = "";
    do {
      const page = await this.#messaging.listBlockedUsers({ pageSize: PAGE, pageToken });
      ids.push(...page.userIds);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    // The pages may be older than a change of this page.
    if (changes !== this.#changes) return this.read();
    this.#ids.clear();
    for (const id of ids) this.#ids.add(id);
    this.#changed();
  }

  async block(userId: string): Promise<void> {
    await this.#messaging.blockUser({ userId });
    this.#changes += 1;
    this.#ids.add(userId);
    this.#changed();
  }

  async unblock(userId: string): Promise<void> {
    await this.#messaging.unblockUser({ userId });
    this.#changes += 1;
    this.#ids.delete(userId);
    this.#changed();
  }
}
