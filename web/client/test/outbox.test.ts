import assert from "node:assert/strict";
import { test } from "node:test";

import { Code } from "@connectrpc/connect";

import { Outbox, OutboxFull } from "../src/outbox.js";
import { signedOutError } from "../src/errors.js";
import { type Outgoing, OutboxStore } from "../src/outbox-store.js";
import { entry, impatient, MemoryStore, networkFailure, refusal, until } from "./fakes.js";

/** A server that stores each client message id once, and fails as the test configures. */
class Server {
  readonly stored: string[] = [];
  readonly ids = new Set<string>();
  fail: (message: Outgoing) => Error | undefined = () => undefined;

  readonly send = async (message: Outgoing) => {
    await Promise.resolve();
    const error = this.fail(message);
    if (error) throw error;
    if (!this.ids.has(message.clientMessageId)) this.stored.push(message.text);
    this.ids.add(message.clientMessageId);
    return entry(message.conversationId, this.stored.length, message.text);
  };
}

function outbox(server: Server, store = new MemoryStore()): Outbox {
  let last = 0;
  // Not in ascending order, like random ids.
  const newId = () => `${(last += 7) % 10}-${last}`;
  return new Outbox({ userId: "u", send: server.send, store, newId, newBackoff: impatient });
}

test("messages arrive once and in order despite lost responses", async () => {
  const server = new Server();
  const box = outbox(server);
  let calls = 0;
  server.fail = (message) => {
    calls += 1;
    // Every third response is lost after the message was stored.
    if (calls % 3 === 0 && !server.ids.has(message.clientMessageId)) {
      server.ids.add(message.clientMessageId);
      server.stored.push(message.text);
      return networkFailure();
    }
    return calls % 3 === 1 ? refusal(Code.Unavailable, "UNAVAILABLE") : undefined;
  };
  const texts = Array.from({ length: 20 }, (_, i) => `message ${i}`);
  for (const text of texts) box.enqueue("c", text);
  await until(() => box.isEmpty);
  assert.deepEqual(server.stored, texts);
});

test("a blocked conversation does not delay another", async () => {
  const server = new Server();
  const box = outbox(server);
  server.fail = ({ conversationId }) => (conversationId === "stuck" ? networkFailure() : undefined);
  box.enqueue("stuck", "waits");
  box.enqueue("free", "goes");
  await until(() => box.of("free").length === 0);
  assert.deepEqual(box.of("stuck").map(({ state }) => state), ["waiting"]);
  box.close();
});

test("a refused message can be retried and does not block others", async () => {
  const server = new Server();
  const box = outbox(server);
  server.fail = ({ text }) => (text === "bad" ? refusal(Code.InvalidArgument, "FIELD_INVALID") : undefined);
  const { clientMessageId } = box.enqueue("c", "bad");
  box.enqueue("c", "good");
  await until(() => server.stored.length === 1 && box.of("c")[0]?.state === "failed");
  server.fail = () => undefined;
  box.retry(clientMessageId);
  await until(() => box.isEmpty);
  assert.deepEqual(server.stored, ["good", "bad"]);
});

test("one unexpected error does not stop the outbox", async () => {
  const server = new Server();
  const box = outbox(server);
  const errors = [refusal(Code.Internal, "INTERNAL"), refusal(Code.Unauthenticated, "TOKEN_INVALID")];
  server.fail = () => errors.shift();
  box.enqueue("c", "one");
  box.enqueue("c", "two");
  await until(() => box.isEmpty);
  assert.deepEqual(server.stored, ["one", "two"]);
});

test("a message with a permanent unexpected error fails", async () => {
  const server = new Server();
  const box = outbox(server);
  server.fail = ({ text }) => (text === "bad" ? refusal(Code.Internal, "INTERNAL") : undefined);
  box.enqueue("c", "bad");
  box.enqueue("c", "good");
  await until(() => server.stored.length === 1);
  assert.deepEqual(box.of("c").map(({ state }) => state), ["failed"]);
});

test("pending messages survive the end of the session", async () => {
  const store = new MemoryStore();
  const server = new Server();
  let calls = 0;
  server.fail = () => {
    calls += 1;
    return signedOutError();
  };
  outbox(server, store).enqueue("c", "later");
  await until(() => calls === 1);
  server.fail = () => undefined;
  const next = outbox(server, store);
  await until(() => next.isEmpty);
  assert.deepEqual(server.stored, ["later"]);
});

test("pending messages survive a reload in the order of writing", async () => {
  const store = new MemoryStore();
  const server = new Server();
  server.fail = networkFailure;
  const before = outbox(server, store);
  const texts = ["one", "two", "three", "four"];
  for (const text of texts) before.enqueue("c", text);
  before.close();

  server.fail = () => undefined;
  const after = outbox(server, store);
  await until(() => after.isEmpty);
  assert.deepEqual(server.stored, texts);
  assert.deepEqual(store.keys(), []);
});

test("stored values that are not messages are ignored", () => {
  const store = new MemoryStore();
  store.set("trellis.outbox.u.1", "{");
  store.set("trellis.outbox.u.2", '{"text": 3}');
  store.set("trellis.outbox.another-user.3", "x");
  assert.ok(outbox(new Server(), store).isEmpty);
});

test("the outbox is bounded, and empty after sign-out", () => {
  const server = new Server();
  server.fail = networkFailure;
  const store = new MemoryStore();
  const box = outbox(server, store);
  for (let i = 0; i < OutboxStore.CAPACITY; i += 1) box.enqueue("c", "text");
  assert.throws(() => box.enqueue("c", "one too many"), OutboxFull);
  box.clear();
  assert.deepEqual(store.keys(), []);
});
