import assert from "node:assert/strict";
import { test } from "node:test";

import { Timeline } from "../src/timeline.js";
import { entry } from "./fakes.js";

test("pages and live entries become one sequence, whatever comes first and twice", () => {
  const timeline = new Timeline();
  const added = [7, 9, 8, 3, 4, 8, 10, 3].map((seq) => timeline.add(entry("c", seq)));
  assert.deepEqual(added, [true, true, true, true, true, false, true, false]);
  assert.deepEqual(timeline.entries.map(({ seq }) => Number(seq)), [3, 4, 7, 8, 9, 10]);
  assert.equal(timeline.newest?.seq, 10n);
});
