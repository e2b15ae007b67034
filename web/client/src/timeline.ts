// One conversation's entries as a client has them: pages read backwards and live entries, in any order and
// however often, become one sequence.

import type { Entry } from "./gen/trellis/messaging/v1/messaging_pb.js";

export class Timeline {
  #entries: Entry[] = [];

  /** Oldest first. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  get newest(): Entry | undefined {
    return this.#entries.at(-1);
  }

  /** Whether the entry was not there before. */
  add(entry: Entry): boolean {
    const place = this.#placeOf(entry.seq);
    if (this.#entries[place]?.seq === entry.seq) return false;
    this.#entries.splice(place, 0, entry);
    return true;
  }

  clear(): void {
    this.#entries = [];
  }

  /** The place of the first entry that is not before `seq`. New entries come last, so the search begins there. */
  #placeOf(seq: bigint): number {
    const before = this.#entries.findLastIndex((entry) => entry.seq < seq);
    return before + 1;
  }
}
