import assert from "node:assert/strict";
import { test } from "node:test";

import { dayHeading, dayKey } from "../src/format.js";

const now = new Date(2026, 2, 30, 0, 5);

test("days are named as people name them", () => {
  assert.equal(dayHeading(new Date(2026, 2, 30, 0, 1), now), "Today");
  // The night in which clocks go forward is an hour short, and a day all the same.
  assert.equal(dayHeading(new Date(2026, 2, 29, 0, 1), now), "Yesterday");
  assert.equal(dayHeading(new Date(2026, 2, 28, 23, 59), now), new Date(2026, 2, 28).toLocaleDateString(undefined, { weekday: "long" }));
  assert.match(dayHeading(new Date(2026, 0, 2), now), /2/);
  assert.match(dayHeading(new Date(2025, 11, 31), now), /2025/);
});

test("a clock that runs ahead shows a date, not a day to come", () => {
  assert.match(dayHeading(new Date(2026, 3, 4), now), /4/);
});

test("two moments of one local day have one key", () => {
  assert.equal(dayKey(new Date(2026, 2, 30, 23, 59)), dayKey(now));
  assert.notEqual(dayKey(new Date(2026, 2, 31)), dayKey(now));
});
