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

function said(seq: number): SubscribeResponse {
  const value = { entry: entry("c", seq), cursor: `after-${seq}` };
  return create(SubscribeResponseSchema, { event: { case: "entry", value } });
}

/** Plays one script a stream. What was asked for is noted as `token@cursor`. */
function play(...scripts: Step[][]) {
  const asked: string[] = [];
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
        asked.push(`t${token}@${cursors.join()}`);
        for (const step of scripts.shift() ?? [refusal(Code.PermissionDenied, "THE_END")]) {
          if (step instanceof Error) throw step;
          yield step;
        }
      },
    },
  };
  return { parts, asked };
}

async function collect(parts: FeedParts): Promise<string[]> {
  const told: string[] = [];
  const tell = (event: FeedEvent) => told.push(event.kind === "entry" ? String(event.entry.seq) : event.kind);
  try {
    for await (const event of follow(parts, new Map([["c", "start"]]), new AbortController().signal)) tell(event);
  } catch {
    told.push("end");
  }
  return told;
}

test("a lost stream is resumed from the newest cursor, and nothing is told twice", async () => {
  const { parts, asked } = play([caughtUp, said(1), said(2), networkFailure()], [said(2), said(3), caughtUp]);
  const told = await collect(parts);
  assert.deepEqual(told, ["live", "1", "2", "reconnecting", "3", "live", "reconnecting", "reconnecting", "end"]);
  assert.deepEqual(asked, ["t1@start", "t1@after-2", "t1@after-3"]);
});

test("an expired token is replaced before the feed goes on, and nobody notices", async () => {
  const expired = refusal(Code.Unauthenticated, "TOKEN_EXPIRED");
  const { parts, asked } = play([caughtUp, said(1), expired], [said(2), caughtUp]);
  const told = await collect(parts);
  assert.deepEqual(told.slice(0, 4), ["live", "1", "2", "live"]);
  assert.deepEqual(asked.slice(0, 2), ["t1@start", "t2@after-1"]);
});

test("one unexpected error does not stop the feed", async () => {
  const { parts, asked } = play(
    [caughtUp, said(1), refusal(Code.Internal, "INTERNAL")],
    [refusal(Code.Unauthenticated, "TOKEN_INVALID")],
    [said(2), caughtUp],
  );
  const told = await collect(parts);
  assert.deepEqual(told.slice(0, 6), ["live", "1", "reconnecting", "reconnecting", "2", "live"]);
  assert.deepEqual(asked.slice(0, 3), ["t1@start", "t1@after-1", "t2@after-1"]);
});

test("the end of the session ends the feed", async () => {
  const { parts } = play([caughtUp], [said(1)]);
  parts.session.accessToken = async () => {
    throw signedOutError();
  };
  assert.deepEqual(await collect(parts), ["reconnecting", "end"]);
});

test("a stopping server is left at once, without a word", async () => {
  const stopping = refusal(Code.Unavailable, "SERVER_STOPPING");
  const { parts } = play([caughtUp, said(1), stopping], [said(2), caughtUp]);
  assert.deepEqual((await collect(parts)).slice(0, 4), ["live", "1", "2", "live"]);
});

test("a server that only ever stops is asked with pauses", async () => {
  const stopping = refusal(Code.Unavailable, "SERVER_STOPPING");
  const { parts } = play([stopping], [stopping], [caughtUp]);
  assert.deepEqual((await collect(parts)).slice(0, 3), ["reconnecting", "reconnecting", "live"]);
});

test("another history starts anew", async () => {
  const { parts, asked } = play([refusal(Code.FailedPrecondition, "CURSOR_EPOCH_CHANGED")], [caughtUp]);
  assert.deepEqual((await collect(parts)).slice(0, 3), ["reconnecting", "reset", "live"]);
  assert.deepEqual(asked.slice(0, 2), ["t1@start", "t1@"]);
});
