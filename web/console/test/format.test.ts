import assert from "node:assert/strict";
import { test } from "node:test";

import { dayHeading, dayKey } from "../src/format.js";

const now = new Date(2026, 2, 30, 0, 5);

test("recent days have relative names", () => {
  assert.equal(dayHeading(new Date(2026, 2, 30, 0, 1), now), "Today");
  // A day with 23 hours counts as one day.
  assert.equal(dayHeading(new Date(2026, 2, 29, 0, 1), now), "Yesterday");
  assert.equal(dayHeading(new Date(2026, 2, 28, 23, 59), now), new Date(2026, 2, 28).toLocaleDateString(undefined, { weekday: "long" }));
  assert.match(dayHeading(new Date(2026, 0, 2), now), /2/);
  assert.match(dayHeading(new Date(2025, 11, 31), now), /2025/);
});

test("a time in the future is shown as a date", () => {
  assert.match(dayHeading(new Date(2026, 3, 4), now), /4/);
});

test("two times of the same local day have the same key", () => {
  assert.equal(dayKey(new Date(2026, 2, 30, 23, 59)), dayKey(now));
  assert.notEqual(dayKey(new Date(2026, 2, 31)), dayKey(now));
});
