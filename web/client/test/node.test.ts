// The SDK as a program in Node.js has it: without a browser's storage, locks, channels and cookies.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { after, before, beforeEach, test } from "node:test";

import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import {
  RefreshDelivery,
  RefreshTokenRequestSchema,
  RefreshTokenResponseSchema,
  SignInRequestSchema,
  SignInResponseSchema,
  SignOutRequestSchema,
  SignOutResponseSchema,
} from "../src/gen/trellis/auth/v1/auth_pb.js";
import { MessagingService, SubscribeResponseSchema } from "../src/gen/trellis/messaging/v1/messaging_pb.js";
import { createTrellis, type Trellis } from "../src/trellis.js";

const UNAUTHENTICATED = "16";

/** Delivers refresh tokens in the body. Other methods are streams of one message. */
class Server {
  readonly #http = createServer((request, response) => void this.#respond(request, response));
  /** Method and `authorization` header of each call. */
  readonly calls: string[] = [];
  /** The `grpc-timeout` header of each stream. */
  readonly timeouts: unknown[] = [];
  issued = 0;
  /** The access token that streams refuse. */
  refused = "";

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

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).subarray(5);
    const method = request.url?.split("/").at(-1) ?? "";
    const { authorization = "none" } = request.headers;
    this.calls.push(`${method} ${authorization}`);
    response.setHeader("content-type", "application/grpc-web+proto");
    if (method === "SignIn") {
      assert.equal(read(SignInRequestSchema, body).refreshDelivery, RefreshDelivery.UNSPECIFIED);
      return end(response, write(SignInResponseSchema, { tokens: this.#issue() }));
    }
    if (method === "RefreshToken") {
      assert.equal(read(RefreshTokenRequestSchema, body).refreshToken, `refresh ${this.issued}`);
      return end(response, write(RefreshTokenResponseSchema, { tokens: this.#issue() }));
    }
    if (method === "SignOut") {
      assert.equal(read(SignOutRequestSchema, body).refreshToken, `refresh ${this.issued}`);
      return end(response, write(SignOutResponseSchema, {}));
    }
    this.timeouts.push(request.headers["grpc-timeout"]);
    if (authorization === `Bearer ${this.refused}`) {
      response.setHeader("grpc-status", UNAUTHENTICATED);
      return void response.end();
    }
    end(response, write(SubscribeResponseSchema, { event: { case: "caughtUp", value: {} } }));
  }

  #issue() {
    this.issued += 1;
    return {
      accessToken: `access ${this.issued}`,
      refreshToken: `refresh ${this.issued}`,
      userId: "u",
      accessExpireTime: timestampFromMs(Date.now() + 900_000),
    };
  }
}

const OK = Buffer.from("grpc-status: 0\r\n");

function frame(flags: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flags);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

function end(response: ServerResponse, message: Uint8Array): void {
  response.end(Buffer.concat([frame(0, message), frame(128, OK)]));
}

function read<T extends DescMessage>(schema: T, bytes: Uint8Array): MessageShape<T> {
  return fromBinary(schema, bytes);
}

function write<T extends DescMessage>(schema: T, init: MessageInitShape<T>): Uint8Array {
  return toBinary(schema, create(schema, init));
}

let server: Server;
let trellis: Trellis;

before(async () => {
  server = new Server();
  // No browser of the test's own: this is what `createTrellis` finds in Node.js.
  trellis = createTrellis({ baseUrl: await server.open() });
});

after(() => server.close());

beforeEach(async () => {
  await trellis.session.signIn("ada@example.com", "a password");
  server.calls.length = 0;
  server.timeouts.length = 0;
});

/** What a stream of a service of the user's own delivers. */
async function events(headers: Record<string, string> = {}): Promise<(string | undefined)[]> {
  const cases: (string | undefined)[] = [];
  for await (const { event } of trellis.client(MessagingService).subscribe({}, { headers })) cases.push(event.case);
  return cases;
}

test("a session in Node.js keeps its refresh token in memory", async () => {
  assert.deepEqual(trellis.session.state, { kind: "signedIn", userId: "u" });
  const token = await trellis.session.accessToken();
  assert.equal(await trellis.session.replace(token), `access ${server.issued}`);
  await trellis.session.signOut();
  assert.equal(trellis.session.state.kind, "signedOut");
  assert.deepEqual(server.calls, ["RefreshToken none", "SignOut none"]);
});

test("clients in one process have sessions of their own", async () => {
  const other = createTrellis({ baseUrl: "http://127.0.0.1:9" });
  assert.equal(other.session.state.kind, "signedOut");
  await trellis.session.signOut();
  assert.deepEqual(other.session.state, { kind: "signedOut", cause: "never" });
});

test("a stream of the user's own service carries the access token", async () => {
  assert.deepEqual(await events(), ["caughtUp"]);
  assert.deepEqual(server.calls, [`Subscribe Bearer access ${server.issued}`]);
  await trellis.session.signOut();
});

test("a stream with a refused token reopens once with a new token", async () => {
  server.refused = `access ${server.issued}`;
  assert.deepEqual(await events(), ["caughtUp"]);
  const opened = [`Subscribe Bearer ${server.refused}`, "RefreshToken none", `Subscribe Bearer access ${server.issued}`];
  assert.deepEqual(server.calls, opened);
  await trellis.session.signOut();
});

test("a stream keeps an authorization header of the call's own", async () => {
  server.refused = "mine";
  await assert.rejects(events({ authorization: "Bearer mine" }));
  assert.deepEqual(server.calls, ["Subscribe Bearer mine"]);
  await trellis.session.signOut();
});

test("the default timeout of unary calls does not end streams", async () => {
  await events();
  assert.deepEqual(server.timeouts, [undefined]);
  await trellis.session.signOut();
});
