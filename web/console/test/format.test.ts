import assert from "node:assert/strict";
import { test } from "node:test";

import { clientName, dayHeading, dayKey, shortened } from "../src/format.js";

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

test("a long name of a program is cut after a word", () => {
  assert.equal(clientName("curl/8.5.0"), "curl/8.5.0");
  assert.equal(clientName(`trellis-bot/1.0 (${"x".repeat(300)}`), "trellis-bot/1.0\u2026");
  assert.equal(clientName("x".repeat(256)), `${"x".repeat(40)}\u2026`);
  assert.equal(shortened("one two three", 13), "one two three");
  assert.equal(shortened("one two three", 12), "one two\u2026");
  // Cut between characters, not within one.
  assert.equal(shortened("\u{1f331}".repeat(3), 2), `${"\u{1f331}".repeat(2)}\u2026`);
});
