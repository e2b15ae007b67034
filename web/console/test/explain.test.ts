import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";

import { ErrorInfoSchema } from "../../client/src/gen/google/rpc/error_details_pb.js";

import { explain, explainViolation } from "../src/explain.js";

test("a violation shows no rule of the contract", () => {
  const rules: [field: string, description: string, shown: string][] = [
    ["handle", "must match ^[a-z][a-z0-9_]{2,29}$", "Use 3 to 30 lower-case letters, digits and underscores, with a letter first."],
    ["user.handle", "must match ^[a-z][a-z0-9_]{2,29}$", "Use 3 to 30 lower-case letters, digits and underscores, with a letter first."],
    ["user.handle", "is reserved or looks like a reserved name; choose another", "This handle is reserved. Choose another one."],
    ["code", "must match ^[a-z0-9_]{0,30}$", "This value cannot be used. Change it and try again."],
    ["password", "must have at least 8 characters", "Use at least 8 characters."],
    ["display_name", "must have at least 1 characters", "This is required."],
    ["display_name", "must have at most 64 characters", "Use at most 64 characters."],
    ["text", "must have at most 4000 bytes, has 4001", "This text is too long. Shorten it."],
  ];
  for (const [field, description, shown] of rules) assert.equal(explainViolation(field, description), shown);
});

test("an error without a reason has a next step", () => {
  assert.match(explain(new ConnectError("", Code.Unknown)), /Try again/);
  assert.match(explain(new ConnectError("boom", Code.Internal)), /Try again/);
});

function refusal(reason: string, message: string, code: Code): ConnectError {
  return new ConnectError(message, code, undefined, [{ desc: ErrorInfoSchema, value: { reason, domain: "trellis" } }]);
}

test("a message of an unknown reason is shown only when it is readable prose", () => {
  const shown: [message: string, code: Code, shown: string][] = [
    ["the handle is reserved; choose another", Code.InvalidArgument, "The handle is reserved; choose another."],
    ["messages of this conversation take too much space", Code.ResourceExhausted, "Messages of this conversation take too much space."],
    ["user.handle: must match ^[a-z]+$", Code.InvalidArgument, "The server did not accept this. Check what you entered, and try again."],
    ["page_token must be set", Code.InvalidArgument, "The server did not accept this. Check what you entered, and try again."],
    ["the field updateMask is wrong", Code.InvalidArgument, "The server did not accept this. Check what you entered, and try again."],
    ["storage quota: 10 GIB of users.db", Code.ResourceExhausted, "A limit is reached. Remove what you no longer need, or try again later."],
    ["no row in the table of members", Code.Internal, "Something went wrong on the server. Try again in a moment."],
    ["<b>bold</b> words", Code.NotFound, "This no longer exists. Reload the page to see the current state."],
  ];
  for (const [message, code, words] of shown) assert.equal(explain(refusal("NEW_REASON", message, code)), words);
});

test("a property of Object is not a known reason", () => {
  assert.equal(explain(refusal("constructor", "x", Code.PermissionDenied)), "You are not allowed to do this.");
});

test("a message without a reason is not shown", () => {
  assert.equal(explain(new ConnectError("refused by a proxy", Code.PermissionDenied)), "You are not allowed to do this.");
});

test("a limit is not explained as a rate limit", () => {
  assert.equal(explain(refusal("CONVERSATION_FULL", "x", Code.ResourceExhausted)), "This conversation is full. Start a new one to continue.");
  assert.match(explain(new ConnectError("", Code.ResourceExhausted, { "retry-after": "30" })), /too often. Try again in 30 s/);
});
