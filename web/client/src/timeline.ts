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
    this.#revise(entry);
    return true;
  }

  /** Puts a message as it is now in the place of what is known of it. */
  replace(entry: Entry): void {
    const place = this.#placeOf(entry.seq);
    if (this.#entries[place]?.seq === entry.seq) this.#entries[place] = entry;
  }

  /** An entry that changes a message changes what is shown of it. A message read later comes as it is by then. */
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

  /** The place of the first entry that is not before `seq`. New entries come last, so the search begins there. */
  #placeOf(seq: bigint): number {
    const before = this.#entries.findLastIndex((entry) => entry.seq < seq);
    return before + 1;
  }
}
