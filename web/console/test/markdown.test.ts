import assert from "node:assert/strict";
import { test } from "node:test";

import { parts } from "../../docs/src/markdown.js";

test("wrapped lines of an item stay together", () => {
  assert.deepEqual(parts("Errors:\nall of\nthese\n- one\n  goes on\n- two-part - text\nand ends"), {
    before: "Errors: all of these",
    items: ["one goes on", "two-part - text and ends"],
  });
  assert.deepEqual(parts("no\nlist"), { before: "no list", items: [] });
  assert.deepEqual(parts("- only"), { before: "", items: ["only"] });
});
