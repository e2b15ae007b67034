import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";

import { explain, explainViolation } from "../src/explain.js";

test("a violation never shows the rule itself", () => {
  const rules: [field: string, description: string, shown: string][] = [
    ["handle", "must match ^[a-z][a-z0-9_]{2,29}$", "Use 3 to 30 small letters, digits and underscores, with a letter first."],
    ["user.handle", "must match ^[a-z][a-z0-9_]{2,29}$", "Use 3 to 30 small letters, digits and underscores, with a letter first."],
    ["user.handle", "is reserved or looks like a reserved name; choose another", "This handle is reserved. Choose another one."],
    ["handle_prefix", "must match ^[a-z0-9_]{0,30}$", "This value cannot be used. Change it and try again."],
    ["password", "must have at least 8 characters", "Use at least 8 characters."],
    ["display_name", "must have at least 1 characters", "This is required."],
    ["display_name", "must have at most 64 characters", "Use at most 64 characters."],
    ["text", "must have at most 4000 bytes, has 4001", "This text is too long. Shorten it."],
  ];
  for (const [field, description, shown] of rules) assert.equal(explainViolation(field, description), shown);
});

test("an error without a reason says what to do next", () => {
  assert.match(explain(new ConnectError("", Code.Unknown)), /Try again/);
  assert.match(explain(new ConnectError("boom", Code.Internal)), /Try again/);
});
