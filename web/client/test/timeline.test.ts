import assert from "node:assert/strict";
import { test } from "node:test";

import type { Entry } from "../src/gen/trellis/messaging/v1/messaging_pb.js";
import { Timeline } from "../src/timeline.js";
import { entry } from "./fakes.js";

test("pages and live entries in any order become one sequence", () => {
  const timeline = new Timeline();
  const added = [7, 9, 8, 3, 4, 8, 10, 3].map((seq) => timeline.add(entry("c", seq)));
  assert.deepEqual(added, [true, true, true, true, true, false, true, false]);
  assert.deepEqual(timeline.entries.map(({ seq }) => Number(seq)), [3, 4, 7, 8, 9, 10]);
  assert.equal(timeline.newest?.seq, 10n);
});

test("an edit changes the text, and a deletion removes it for good", () => {
  const timeline = new Timeline();
  const message = { ...entry("c", 1), body: { case: "message", value: { messageNo: 1n, text: "helo" } } } as Entry;
  const change = (seq: number, body: object) => timeline.add({ ...entry("c", seq), createTime: { seconds: 1n, nanos: 0 }, body } as Entry);
  const shown = () => (timeline.entries[0]?.body.case === "message" ? timeline.entries[0].body.value : undefined);
  timeline.add(message);
  change(2, { case: "messageEdited", value: { messageNo: 1n, text: "hello", etag: "r2" } });
  assert.equal(shown()?.text, "hello");
  change(3, { case: "messageDeleted", value: { messageNo: 1n } });
  change(4, { case: "messageEdited", value: { messageNo: 1n, text: "back", etag: "r3" } });
  assert.equal(shown()?.text, "");
});
