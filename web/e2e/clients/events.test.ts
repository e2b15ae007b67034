// Streams with what browsers have themselves: EventSource, which reconnects by itself, and WebSocket.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Browser } from "playwright-core";

import { launch, Person, Watch } from "../browser.js";
import { Server } from "../server.js";

let browser: Browser;

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
});

interface Account {
  readonly token: string;
  readonly userId: string;
}

/** Calls a method in its HTTP form. */
async function post(server: Server, path: string, body: object, account?: Account): Promise<Record<string, any>> {
  const authorization = account ? { authorization: `Bearer ${account.token}` } : {};
  const headers = { "content-type": "application/json", ...authorization };
  const response = await fetch(server.url + path, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await response.text();
  assert.equal(response.status, 200, `${path}: ${text}`);
  return JSON.parse(text);
}

async function signUp(server: Server, handle: string): Promise<Account> {
  const account = { email: `${handle}@example.org`, password: `the password of ${handle}`, handle, displayName: handle };
  const { tokens } = await post(server, "/v1/auth:signUp", account);
  return { token: tokens.accessToken, userId: tokens.userId };
}

test("EventSource receives events and resumes after a cut", { timeout: 120_000 }, async () => {
  const server = await Server.start({ TRELLIS_GATEWAY__JSON__RETRY: "500ms" });
  const watch = new Watch();
  try {
    const [ada, bob] = [await signUp(server, "ada"), await signUp(server, "bob")];
    const { conversation } = await post(server, "/v1/conversations", { requestId: crypto.randomUUID(), memberIds: [ada.userId] }, bob);
    const messages = `/v1/conversations/${conversation.conversationId}/messages`;
    const say = (text: string) => post(server, messages, { clientMessageId: crypto.randomUUID(), text }, bob);
    const person = await Person.arrive(browser, server.url, watch);
    const page = await person.open();
    // EventSource cannot set headers itself.
    await person.context.setExtraHTTPHeaders({ authorization: `Bearer ${ada.token}` });
    await page.evaluate(() => {
      const received: string[] = [];
      const source = new EventSource("/v1/conversations:subscribe");
      source.onmessage = (event) => received.push(`${event.lastEventId} ${event.data}`);
      Object.assign(window, { received });
    });
    const until = async (text: string): Promise<string[]> => {
      const has = (wanted: string) => (window as any).received.some((event: string) => event.includes(wanted));
      await page.waitForFunction(has, text);
      return page.evaluate(() => (window as any).received.splice(0));
    };
    await until("caughtUp");
    await say("before the cut");
    const before = await until("before the cut");
    assert.match(before.at(-1) ?? "", /^\S+ /, "the event has an id");
    await watch.whileServerIsDown(async () => {
      await server.kill();
      await server.run();
      await say("after the cut");
      const resumed = await until("after the cut");
      // The stream has continued after the cursor: it neither repeats a message nor announces the conversation again.
      assert.deepEqual(resumed.filter((event) => event.includes("before the cut")), []);
      assert.deepEqual(resumed.filter((event) => event.includes('"conversation":{')), []);
    });
    watch.check();
  } catch (error) {
    console.error(server.output());
    throw error;
  } finally {
    await server.stop();
  }
});

test("a WebSocket carries a call of an allowed page", { timeout: 120_000 }, async () => {
  const server = await Server.start();
  try {
    const ada = await signUp(server, "ada");
    const call = { url: server.url.replace("http", "ws"), ...ada };
    /** Makes a call in the page. */
    const getUser = ({ url, token, userId }: typeof call) =>
      new Promise<{ frames: any[]; code: number; wasClean: boolean }>((resolve) => {
        const socket = new WebSocket(`${url}/trellis.users.v1.UsersService/GetUser`, "trellis.json.v1");
        const frames: any[] = [];
        socket.onopen = () => {
          socket.send(JSON.stringify({ metadata: { authorization: `Bearer ${token}` } }));
          socket.send(JSON.stringify({ message: { userId } }));
        };
        socket.onmessage = ({ data }) => frames.push(JSON.parse(data));
        socket.onclose = ({ code, wasClean }) => resolve({ frames, code, wasClean });
      });
    const watch = new Watch();
    const page = await (await Person.arrive(browser, server.url, watch)).open();
    const { frames, code, wasClean } = await page.evaluate(getUser, call);
    const results = frames.flatMap((frame) => frame.result ?? []);
    assert.deepEqual(results.map(({ user }) => user.handle), ["ada"]);
    assert.deepEqual(frames.at(-1), { status: { code: 0, message: "" } });
    assert.deepEqual([code, wasClean], [1000, true]);
    watch.check();
    // A page of another origin, also with a token, gets no socket.
    const stranger = await browser.newPage();
    const refused = await stranger.evaluate(getUser, call);
    assert.deepEqual([refused.frames, refused.code], [[], 1006]);
  } catch (error) {
    console.error(server.output());
    throw error;
  } finally {
    await server.stop();
  }
});
