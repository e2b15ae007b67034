import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";

import { Backoff, sleep, waitAfter } from "../src/backoff.js";
import { RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { impatient } from "./fakes.js";

test("waits double up to the cap and start again after a success", () => {
  const backoff = new Backoff({ firstMs: 100, capMs: 500, random: () => 1 });
  assert.deepEqual([1, 2, 3, 4, 5].map(() => backoff.next()), [100, 200, 400, 500, 500]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test("jitter covers the whole wait", () => {
  const randoms = [0, 0.5, 0.25];
  const backoff = new Backoff({ firstMs: 100, capMs: 10_000, random: () => randoms.shift() ?? 1 });
  assert.deepEqual([1, 2, 3].map(() => backoff.next()), [0, 100, 100]);
});

test("the retry delay of the server is respected", async () => {
  const retryInfo = { desc: RetryInfoSchema, value: { retryDelay: { seconds: 0n, nanos: 60_000_000 } } };
  const error = new ConnectError("slow down", Code.ResourceExhausted, undefined, [retryInfo]);
  const start = performance.now();
  await waitAfter(error, impatient());
  assert.ok(performance.now() - start >= 55);
});

test("a sleep ends when it is aborted", async () => {
  const controller = new AbortController();
  const asleep = sleep(60_000, controller.signal);
  controller.abort();
  await asleep;
  await sleep(60_000, controller.signal);
});
