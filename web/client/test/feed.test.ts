import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";

import { signedOutError } from "../src/errors.js";
import { type FeedEvent, type FeedParts, follow } from "../src/feed.js";
import { type SubscribeResponse, SubscribeResponseSchema } from "../src/gen/trellis/messaging/v1/messaging_pb.js";
import { entry, impatient, networkFailure, refusal } from "./fakes.js";

type Step = SubscribeResponse | Error;

const caughtUp = create(SubscribeResponseSchema, { event: { case: "caughtUp", value: {} } });

function entryEvent(seq: number): SubscribeResponse {
  const value = { entry: entry("c", seq), cursor: `after-${seq}` };
  return create(SubscribeResponseSchema, { event: { case: "entry", value } });
}

/** Plays one script per stream. `requests` records `token@cursor`. */
function play(...scripts: Step[][]) {
  const requests: string[] = [];
  let token = 1;
  const parts: FeedParts = {
    backoff: impatient(),
    session: {
      accessToken: async () => `t${token}`,
      replace: async () => `t${(token += 1)}`,
    },
    messaging: {
      subscribe: async function* (request) {
        const cursors = (request.positions ?? []).map(({ cursor }) => cursor);
        requests.push(`t${token}@${cursors.join()}`);
        for (const step of scripts.shift() ?? [refusal(Code.PermissionDenied, "THE_END")]) {
          if (step instanceof Error) throw step;
          yield step;
        }
      },
    },
  };
  return { parts, requests };
}

async function collect(parts: FeedParts): Promise<string[]> {
  const events: string[] = [];
  const record = (event: FeedEvent) => events.push(event.kind === "entry" ? String(event.entry.seq) : event.kind);
  try {
    for await (const event of follow(parts, new Map([["c", "start"]]), new AbortController().signal)) record(event);
  } catch {
    events.push("end");
  }
  return events;
}

test("a lost stream resumes at the newest cursor, without repeats", async () => {
  const { parts, requests } = play([caughtUp, entryEvent(1), entryEvent(2), networkFailure()], [entryEvent(2), entryEvent(3), caughtUp]);
  const events = await collect(parts);
  assert.deepEqual(events, ["live", "1", "2", "reconnecting", "3", "live", "reconnecting", "reconnecting", "end"]);
  assert.deepEqual(requests, ["t1@start", "t1@after-2", "t1@after-3"]);
});

test("an expired token is replaced without a reconnecting event", async () => {
  const expired = refusal(Code.Unauthenticated, "TOKEN_EXPIRED");
  const { parts, requests } = play([caughtUp, entryEvent(1), expired], [entryEvent(2), caughtUp]);
  const events = await collect(parts);
  assert.deepEqual(events.slice(0, 4), ["live", "1", "2", "live"]);
  assert.deepEqual(requests.slice(0, 2), ["t1@start", "t2@after-1"]);
});

test("one unexpected error does not stop the feed", async () => {
  const { parts, requests } = play(
    [caughtUp, entryEvent(1), refusal(Code.Internal, "INTERNAL")],
    [refusal(Code.Unauthenticated, "TOKEN_INVALID")],
    [entryEvent(2), caughtUp],
  );
  const events = await collect(parts);
  assert.deepEqual(events.slice(0, 6), ["live", "1", "reconnecting", "reconnecting", "2", "live"]);
  assert.deepEqual(requests.slice(0, 3), ["t1@start", "t1@after-1", "t2@after-1"]);
});

test("an unexpected error of a refresh does not stop the feed", async () => {
  const expired = () => refusal(Code.Unauthenticated, "TOKEN_EXPIRED");
  const { parts, requests } = play([expired()], [expired()], [entryEvent(1), caughtUp]);
  const { replace } = parts.session;
  const failures = [refusal(Code.Internal, "INTERNAL")];
  parts.session.replace = async (refused) => {
    const failure = failures.shift();
    if (failure) throw failure;
    return replace(refused);
  };
  assert.deepEqual((await collect(parts)).slice(0, 4), ["reconnecting", "reconnecting", "1", "live"]);
  assert.deepEqual(requests.slice(0, 3), ["t1@start", "t1@start", "t2@start"]);
});

test("a session that ends in a refresh ends the feed", async () => {
  const { parts, requests } = play([refusal(Code.Unauthenticated, "TOKEN_EXPIRED")]);
  parts.session.replace = async () => {
    throw refusal(Code.Unauthenticated, "REFRESH_TOKEN_REUSED");
  };
  assert.deepEqual(await collect(parts), ["reconnecting", "end"]);
  assert.equal(requests.length, 1);
});

test("the end of the session ends the feed", async () => {
  const { parts } = play([caughtUp], [entryEvent(1)]);
  parts.session.accessToken = async () => {
    throw signedOutError();
  };
  assert.deepEqual(await collect(parts), ["reconnecting", "end"]);
});

test("the feed leaves a stopping server at once and silently", async () => {
  const stopping = refusal(Code.Unavailable, "SERVER_STOPPING");
  const { parts } = play([caughtUp, entryEvent(1), stopping], [entryEvent(2), caughtUp]);
  assert.deepEqual((await collect(parts)).slice(0, 4), ["live", "1", "2", "live"]);
});

test("the feed backs off from a server that keeps stopping", async () => {
  const stopping = refusal(Code.Unavailable, "SERVER_STOPPING");
  const { parts } = play([stopping], [stopping], [caughtUp]);
  assert.deepEqual((await collect(parts)).slice(0, 3), ["reconnecting", "reconnecting", "live"]);
});

test("lost history resets the feed", async () => {
  const { parts, requests } = play([refusal(Code.FailedPrecondition, "CURSOR_EPOCH_CHANGED")], [caughtUp]);
  assert.deepEqual((await collect(parts)).slice(0, 3), ["reconnecting", "reset", "live"]);
  assert.deepEqual(requests.slice(0, 2), ["t1@start", "t1@"]);
});
