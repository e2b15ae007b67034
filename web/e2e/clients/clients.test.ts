// Clients that Trellis did not write, in a real browser and from another origin, against the real server: each runs
// the same scenario.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Browser, Page } from "playwright-core";

import { launch, Person, Watch } from "../browser.js";
import { Server } from "../server.js";
import { type Observations, TEXTS } from "./scenario.js";
import { bundle, Site } from "./site.js";
import { CLIENTS } from "./window.js";

const said = TEXTS.map((text, at) => ({ seq: at + 2, text }));
const once = { seq: TEXTS.length + 2, text: "once" };

const EXPECTED: Observations = {
  wrongPassword: { code: "UNAUTHENTICATED", reason: "BAD_CREDENTIALS", fields: [] },
  words: "the e-mail address or the password is wrong",
  isSameAccount: true,
  found: ["bob"],
  displayName: "Bob Märsch 🦭",
  withoutToken: { code: "UNAUTHENTICATED", reason: "SIGN_IN_REQUIRED", fields: [] },
  streamWithoutToken: { code: "UNAUTHENTICATED", reason: "SIGN_IN_REQUIRED", fields: [] },
  lateCall: { code: "DEADLINE_EXCEEDED", reason: "DEADLINE_EXCEEDED", fields: [] },
  heard: said,
  repeated: [once, once],
  idReused: { code: "ALREADY_EXISTS", reason: "REQUEST_ID_REUSED", fields: [] },
  violations: { code: "INVALID_ARGUMENT", reason: "", fields: ["client_message_id", "text"] },
  listed: [once, ...said.toReversed()],
  lateStream: "DEADLINE_EXCEEDED",
};

let browser: Browser;
let allowed: Site;
let stranger: Site;

before(async () => {
  const script = await bundle();
  allowed = await Site.open(script);
  stranger = await Site.open(script);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  allowed?.close();
  stranger?.close();
});

for (const name of CLIENTS) {
  visit(`${name} runs the scenario`, async (server, watch) => {
    const page = await open(allowed, watch);
    const task = { name, gateway: server.url };
    const observed = await page.evaluate(({ name, gateway }) => window.trellis.scenario(name, gateway), task);
    assert.deepEqual(observed, EXPECTED);
    watch.check();
  });
}

visit("no client may call from an origin that is not named", async (server) => {
  const page = await open(stranger, new Watch());
  const complaints: string[] = [];
  page.on("console", (message) => complaints.push(message.text()));
  for (const name of CLIENTS) {
    const task = { name, gateway: server.url };
    const refusals = await page.evaluate(({ name, gateway }) => window.trellis.knock(name, gateway), task);
    // The clients differ in the code that they make up; none has read a word of the server.
    assert.deepEqual(refusals.map(({ reason }) => reason), ["", ""], name);
  }
  const isPolicy = (complaint: string) => complaint.includes("blocked by CORS policy");
  assert.equal(complaints.filter(isPolicy).length, 2 * CLIENTS.length);
  const others = complaints.filter((complaint) => !isPolicy(complaint) && !complaint.includes("net::ERR_FAILED"));
  assert.deepEqual(others, []);
  // The preflight requests were refused: no call was even begun.
  assert.doesNotMatch(server.output(), /rpc\.method/);
});

/** A test with a server, and so with people, of its own; when it fails, the server has its say. */
function visit(name: string, run: (server: Server, watch: Watch) => Promise<void>): void {
  test(name, { timeout: 120_000 }, async () => {
    const server = await Server.start({
      TRELLIS_GATEWAY__CORS_ORIGINS: allowed.url,
      // So that a stream opens only when the server has noticed that the one before was cancelled.
      TRELLIS_MESSAGING__STREAMS_PER_SESSION: "1",
    });
    try {
      await run(server, new Watch());
    } catch (error) {
      console.error(server.output());
      throw error;
    } finally {
      await server.stop();
    }
  });
}

async function open(site: Site, watch: Watch): Promise<Page> {
  return (await Person.arrive(browser, site.url, watch)).open();
}
