import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema, anyPack, timestampFromMs } from "@bufbuild/protobuf/wkt";

import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { SignInResponseSchema } from "../src/gen/trellis/auth/v1/auth_pb.js";
import { createTrellis, type Trellis } from "../src/trellis.js";
import { MemoryStore, until } from "./fakes.js";

const UNAVAILABLE = "14";
const PERMISSION_DENIED = "7";

/** Accepts every sign-in and sign-out. Of every other method, the first two calls fail and the third is refused. */
class Server {
  readonly #http = createServer((request, response) => this.#respond(request, response));
  /** Method → the `traceparent` of each call. */
  readonly seen = new Map<string, string[]>();

  async open(): Promise<string> {
    await once(this.#http.listen(0, "127.0.0.1"), "listening");
    const address = this.#http.address();
    assert.ok(address !== null && typeof address === "object");
    return `http://127.0.0.1:${address.port}`;
  }

  close(): void {
    this.#http.close();
    this.#http.closeAllConnections();
  }

  #respond(request: IncomingMessage, response: ServerResponse): void {
    request.resume();
    const method = request.url?.split("/").at(-1) ?? "";
    const calls = this.seen.get(method) ?? [];
    this.seen.set(method, [...calls, String(request.headers["traceparent"])]);
    response.setHeader("content-type", "application/grpc-web+proto");
    if (method === "SignIn") return void response.end(Buffer.concat([frame(0, signedIn()), frame(128, OK)]));
    if (method === "SignOut") return void response.end(Buffer.concat([frame(0, Buffer.alloc(0)), frame(128, OK)]));
    response.setHeader("grpc-status", calls.length < 2 ? UNAVAILABLE : PERMISSION_DENIED);
    if (calls.length >= 2) response.setHeader("grpc-status-details-bin", refusalDetails());
    response.end();
  }
}

const OK = Buffer.from("grpc-status: 0\r\n");

function frame(flags: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** A google.rpc.Status with one ErrorInfo, written by hand: its fields are `code` = 1 and `details` = 3. */
function refusalDetails(): string {
  const info = toBinary(AnySchema, anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: "REFUSED" })));
  const status = Buffer.concat([Buffer.from([0x08, Number(PERMISSION_DENIED), 0x1a, info.length]), info]);
  return status.toString("base64");
}

function signedIn(): Uint8Array {
  const tokens = { accessToken: "t", userId: "u", accessExpireTime: timestampFromMs(Date.now() + 900_000) };
  return toBinary(SignInResponseSchema, create(SignInResponseSchema, { tokens }));
}

let server: Server;
let trellis: Trellis;

before(async () => {
  server = new Server();
  const browser = {
    store: new MemoryStore(),
    exclusive: <T>(_: string, task: () => Promise<T>) => task(),
    channel: { post: () => {}, listen: () => {} },
  };
  trellis = createTrellis({ baseUrl: await server.open(), browser });
  await trellis.session.signIn("ada@example.com", "a password");
});

after(async () => {
  // Otherwise the refresh timer of the session would keep the test running.
  await trellis.session.signOut();
  server.close();
});

/** Asserts that the calls of `method` are separate spans of one trace. Returns the trace id. */
function traceOf(method: string, calls: number): string {
  const places = (server.seen.get(method) ?? []).map((text) => /^00-([0-9a-f]{32})-([0-9a-f]{16})-00$/.exec(text));
  assert.equal(places.length, calls, method);
  assert.ok(places.every((place) => place), `${method}: ${server.seen.get(method)}`);
  assert.equal(new Set(places.map((place) => place?.[1])).size, 1, `${method}: one trace`);
  assert.equal(new Set(places.map((place) => place?.[2])).size, calls, `${method}: a span for each call`);
  return places[0]?.[1] ?? "";
}

test("each operation is a trace, and each attempt a span of it", async () => {
  await assert.rejects(trellis.users.listUsers({}));
  const outbox = trellis.outbox("u");
  outbox.enqueue("c", "hello");
  await until(() => outbox.of("c")[0]?.state === "failed");
  await assert.rejects(async () => {
    for await (const _ of trellis.follow(new Map(), new AbortController().signal));
  });
  const traces = [
    traceOf("SignIn", 1),
    traceOf("ListUsers", 3),
    traceOf("SendMessage", 3),
    traceOf("Subscribe", 3),
  ];
  assert.equal(new Set(traces).size, traces.length);
});

test("attempts to get one token belong to one trace", async () => {
  for (const _ of [1, 2]) await assert.rejects(trellis.session.replace("t"));
  traceOf("RefreshToken", 2);
});

test("a call continues the trace of its header", async () => {
  const own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await assert.rejects(trellis.users.getUser({ userId: "u" }, { headers: { traceparent: own } }));
  for (const place of server.seen.get("GetUser") ?? []) {
    assert.match(place, /^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/);
    assert.notEqual(place, own);
  }
});
