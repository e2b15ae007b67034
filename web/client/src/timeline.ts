// Merges the entries of one conversation into one sequence: pages and live entries, in any order, with duplicates.

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

  /** Adds an entry. Returns false when it was there already. */
  add(entry: Entry): boolean {
    const place = this.#placeOf(entry.seq);
    if (this.#entries[place]?.seq === entry.seq) return false;
    this.#entries.splice(place, 0, entry);
    this.#revise(entry);
    return true;
  }

  /** Replaces a message with its current state. */
  replace(entry: Entry): void {
    const place = this.#placeOf(entry.seq);
    if (this.#entries[place]?.seq === entry.seq) this.#entries[place] = entry;
  }

  /** Applies an edit or a deletion to its message. A message that is read later already has its current state. */
  #revise({ body, createTime }: Entry): void {
    if (body.case !== "messageEdited" && body.case !== "messageDeleted") return;
    const at = this.#entries.findIndex((entry) => {
      return entry.body.case === "message" && entry.body.value.messageNo === body.value.messageNo;
    });
    const known = this.#entries[at];
    if (known?.body.case !== "message" || known.body.value.deleteTime) return;
    const message =
      body.case === "messageEdited"
        ? { ...known.body.value, text: body.value.text, etag: body.value.etag, editTime: createTime }
        : { ...known.body.value, text: "", deleteTime: createTime };
    this.#entries[at] = { ...known, body: { case: "message", value: message as typeof known.body.value } };
  }

  clear(): void {
    this.#entries = [];
  }

  /** The index of the first entry that is not before `seq`. New entries are last, so the search starts there. */
  #placeOf(seq: bigint): number {
    const before = this.#entries.findLastIndex((entry) => entry.seq < seq);
    return before + 1;
  }
}
