import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../../client/src/gen/google/rpc/error_details_pb.js";

import { explain, explainSignUp, explainViolation } from "../src/explain.js";

test("a violation shows no rule of the contract", () => {
  const rules: [field: string, description: string, shown: string][] = [
    ["handle", "must match ^[a-z][a-z0-9_]{2,29}$", "Use 3 to 30 lower-case letters, digits and underscores, with a letter first."],
    ["user.handle", "must match ^[a-z][a-z0-9_]{2,29}$", "Use 3 to 30 lower-case letters, digits and underscores, with a letter first."],
    ["user.handle", "is reserved or looks like a reserved name; choose another", "This handle is reserved. Choose another one."],
    ["code", "must match ^[a-z0-9_]{0,30}$", "This value cannot be used. Change it and try again."],
    ["password", "must have at least 15 characters", "Use at least 15 characters."],
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

test("an unknown reason shows its message only if it is prose", () => {
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

test("a limit is not called a rate", () => {
  const full = refusal("CONVERSATION_STORAGE_FULL", "the conversation takes as much storage as it may", Code.ResourceExhausted);
  assert.equal(explain(full), "This conversation has used up its storage. Delete long messages, or start another one.");
  assert.match(explain(new ConnectError("", Code.ResourceExhausted, { "retry-after": "30" })), /too often. Try again in 30 s/);
});

test("a blocked user and a non-member see the reason", () => {
  const blocked = refusal("NOT_ACCEPTED", "the other member does not accept messages from you", Code.PermissionDenied);
  assert.equal(explain(blocked), "This person does not accept messages from you.");
  const missing = refusal("CONVERSATION_NOT_FOUND", "there is no such conversation", Code.NotFound);
  assert.equal(explain(missing), "This conversation does not exist, or you are not a member.");
});

/** INVALID_ARGUMENT as `kit::error::invalid_field` makes it. */
function invalidField(field: string, reason: string, description: string): ConnectError {
  return new ConnectError(`${field}: ${description}`, Code.InvalidArgument, undefined, [
    { desc: BadRequestSchema, value: { fieldViolations: [{ field, description }] } },
    { desc: ErrorInfoSchema, value: { reason, domain: "trellis" } },
  ]);
}

// The descriptions of services/auth: domain/email.rs, password/prepared.rs, password/strength.rs, api/new_password.rs.
test("a refused e-mail address or password shows its reason", () => {
  const shown: [field: string, reason: string, description: string, shown: string][] = [
    ["email", "EMAIL_INVALID", "must be an e-mail address such as ada@example.com", "Enter an e-mail address, such as ada@example.com."],
    ["email", "EMAIL_INVALID", "must not contain invisible characters; delete it and type it by hand", "This address contains invisible characters. Delete it, and type it by hand."],
    ["email", "EMAIL_INVALID", "must end with a valid domain after the @, such as example.com", "The part after the @ is not a valid domain. Use one such as example.com."],
    ["email", "EMAIL_INVALID", "must have at most 254 bytes with its domain in punycode; use a shorter address", "This address is too long. Use a shorter one."],
    ["email", "", "must have at most 254 characters", "This address is too long. Use a shorter one."],
    ["password", "PASSWORD_TOO_SHORT", "must have at least 15 characters", "Use at least 15 characters."],
    ["password", "PASSWORD_TOO_WEAK", "is too easy to guess: it is a common password; use different words", "This password is too easy to guess: it is a common password; use different words."],
    ["new_password", "PASSWORD_BREACHED", "is in a list of stolen passwords; choose another one", "This password is in a list of stolen passwords; choose another one."],
    ["new_password", "PASSWORD_TOO_LONG", "must have at most 256 characters", "Use at most 256 characters."],
  ];
  for (const [field, reason, description, words] of shown) {
    assert.equal(explain(invalidField(field, reason, description)), words);
    assert.equal(explainViolation(field, description), words);
  }
});

// The messages of proto/trellis/text/v1/text.proto.
test("each rule of a text is named", () => {
  const shown: [description: string, shown: string][] = [
    ["must not contain a space or a combining mark at the beginning, or a space at the end", "Remove the space or the accent at the beginning, or the space at the end."],
    ["must not contain line breaks or control characters", "This text contains a line break or a control character. Write it in one line."],
    ["must not be invisible: add a letter, a digit or a symbol", "This text is invisible. Add a letter, a digit or a symbol."],
    ["must not contain invisible characters", "This text contains a character that cannot be used, such as an invisible one. Type it again."],
  ];
  for (const [description, words] of shown) assert.equal(explainViolation("display_name", description), words);
});

test("a limit on sign-ups states its subject and its duration", () => {
  const limited = (seconds: number) =>
    new ConnectError("too many sign-up attempts for this address", Code.ResourceExhausted, undefined, [
      { desc: RetryInfoSchema, value: { retryDelay: { seconds: BigInt(seconds) } } },
      { desc: ErrorInfoSchema, value: { reason: "RATE_LIMITED", domain: "trellis" } },
    ]);
  assert.equal(explain(explainSignUp(limited(40))), "Too many sign-ups from your network address. Try again in 1 minute.");
  assert.equal(explain(explainSignUp(limited(150))), "Too many sign-ups from your network address. Try again in 3 minutes.");
  const taken = refusal("HANDLE_TAKEN", "x", Code.AlreadyExists);
  assert.equal(explainSignUp(taken), taken);
});
