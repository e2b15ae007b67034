import assert from "node:assert/strict";
import { test } from "node:test";

import { MemoryStore } from "../../client/test/fakes.js";
import { Drafts } from "../src/model/drafts.js";

test("a draft survives a reload and belongs to its user", () => {
  const store = new MemoryStore();
  new Drafts(store, "ada").set("c", "half a thought");
  assert.equal(new Drafts(store, "ada").get("c"), "half a thought");
  assert.equal(new Drafts(store, "bob").get("c"), "");
});

test("an empty draft and a sign-out remove the stored text", () => {
  const store = new MemoryStore();
  const drafts = new Drafts(store, "ada");
  drafts.set("c", "text");
  drafts.set("c", "");
  assert.deepEqual(store.keys(), []);
  drafts.set("d", "text");
  drafts.clear();
  assert.deepEqual(store.keys(), []);
});

test("the number of drafts is bounded", () => {
  const store = new MemoryStore();
  const drafts = new Drafts(store, "ada");
  for (let i = 0; i < 150; i += 1) drafts.set(`c${i}`, "text");
  assert.equal(store.keys().length, 100);
  assert.equal(drafts.get("c149"), "text");
});
