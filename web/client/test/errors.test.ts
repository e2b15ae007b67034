import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";

import { isRefused, isTransient, reasonOf, retryDelayOf, violationsOf } from "../src/errors.js";
import { BadRequestSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { networkFailure, refusal } from "./fakes.js";

test("a lost connection is transient, an internal error is not", () => {
  assert.ok(isTransient(networkFailure()));
  assert.ok(isTransient(new ConnectError("missing trailer", Code.Unknown)));
  assert.ok(isTransient(refusal(Code.Unavailable, "SERVER_STOPPING")));
  for (const code of [Code.Canceled, Code.Internal, Code.Unavailable]) {
    assert.ok(isTransient(refusal(code, "RESPONSE_CUT")));
  }
  assert.ok(!isTransient(refusal(Code.Internal, "INTERNAL")));
  assert.ok(!isTransient(refusal(Code.Canceled, "")));
  assert.ok(!isTransient(refusal(Code.NotFound, "CONVERSATION_NOT_FOUND")));
});

test("a quota with a retry delay is transient", () => {
  const headers = { "retry-after": "3" };
  const quota = new ConnectError("slow down", Code.ResourceExhausted, headers);
  assert.equal(retryDelayOf(quota), 3_000);
  assert.ok(isTransient(quota));
  assert.ok(!isTransient(refusal(Code.ResourceExhausted, "TOO_MANY_CONVERSATIONS")));
});

test("error details are parsed", () => {
  assert.equal(reasonOf(refusal(Code.AlreadyExists, "HANDLE_TAKEN")), "HANDLE_TAKEN");
  assert.equal(reasonOf(networkFailure()), "");
  const fieldViolations = [{ field: "email", description: "must be an e-mail address" }];
  const bad = new ConnectError("bad", Code.InvalidArgument, undefined, [
    { desc: BadRequestSchema, value: { fieldViolations } },
  ]);
  assert.ok(isRefused(bad));
  assert.ok(!isRefused(new ConnectError("a proxy refused", Code.PermissionDenied)));
  assert.deepEqual([...violationsOf(bad)], [["email", "must be an e-mail address"]]);
});
