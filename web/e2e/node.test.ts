// The SDK in Node.js against the real server: sign-up, calls, streams and refreshed tokens.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { createTrellis, messaging, type Trellis } from "../client/src/index.js";
import { account } from "./console.js";
import { Server } from "./server.js";

const ada = { ...account("Ada Lovelace"), displayName: "Ada Lovelace" };
const bob = { ...account("Bob Stone"), displayName: "Bob Stone" };

let server: Server;

before(async () => {
  // Each test sees several access tokens.
  server = await Server.start({ TRELLIS_AUTH__ACCESS_LIFETIME: "3s" });
});

after(async () => {
  await server?.stop();
});

function userIdOf({ session: { state } }: Trellis): string {
  assert.equal(state.kind, "signedIn");
  return state.kind === "signedIn" ? state.userId : "";
}

test("two sessions in one process outlive their access tokens", { timeout: 60_000 }, async () => {
  const [adas, bobs] = [createTrellis({ baseUrl: server.url }), createTrellis({ baseUrl: server.url })];
  await adas.session.signUp(ada);
  await bobs.session.signUp(bob);
  assert.notEqual(userIdOf(adas), userIdOf(bobs));
  const first = await adas.session.accessToken();

  const memberIds = [userIdOf(bobs)];
  const { conversation } = await adas.messaging.createConversation({ requestId: crypto.randomUUID(), memberIds });
  const conversationId = conversation?.conversationId ?? "";
  const outbox = adas.outbox(userIdOf(adas));
  const end = new AbortController();
  const heard: string[] = [];
  for await (const event of bobs.follow(new Map(), end.signal)) {
    if (event.kind === "live" && heard.length === 0) outbox.enqueue(conversationId, "One");
    if (event.kind !== "entry" || event.entry.body.case !== "message") continue;
    heard.push(event.entry.body.value.text);
    if (heard.length === 2) end.abort();
    // By then Bob's token and stream have ended once.
    else setTimeout(() => outbox.enqueue(conversationId, "Two"), 5_000);
  }
  assert.deepEqual(heard, ["One", "Two"]);
  assert.notEqual(await adas.session.accessToken(), first);

  // A client of one's own for a service with a stream.
  for await (const { event } of bobs.client(messaging.MessagingService).subscribe({})) if (event.case === "caughtUp") break;
  outbox.close();
  for (const { session } of [adas, bobs]) {
    await session.signOut();
    assert.equal(session.state.kind, "signedOut");
  }
});
