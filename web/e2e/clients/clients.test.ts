// Runs the same scenario with third-party clients, in a real browser and from another origin, against the real server.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import type { Browser, Page } from "playwright-core";

import { launch, Person, Watch } from "../browser.js";
import { Server, type Settings } from "../server.js";
import type { Script } from "./scenario.js";
import type { ShopScript } from "./shop.js";
import { bundle, Site } from "./site.js";
import { Upstream } from "./upstream.js";
import { CLIENTS, type ClientName } from "./window.js";

/** npm runs the tests in web/. */
const SCRIPT: Script = JSON.parse(readFileSync("e2e/clients/scenario.json", "utf8"));
const SHOP_SCRIPT: ShopScript = JSON.parse(readFileSync("e2e/clients/upstream.json", "utf8"));

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
  visit(`${name} runs the scenario`, async (server) => {
    // In Connect the status of HTTP states the failure of a unary call, and Chromium logs each one.
    const watch = new Watch(name.includes(", Connect ") ? /the server responded with a status of (4\d\d|504) / : undefined);
    const page = await open(allowed, watch);
    const task = { name, gateway: server.url, script: SCRIPT };
    const seen = await page.evaluate((it) => window.trellis.scenario(it.name, it.gateway, it.script), task);
    assert.deepEqual(seen, { steps: steps(name), observations: SCRIPT.observations });
    watch.check();
  });
}

test("every client calls a service of grpcio", { timeout: 120_000 }, async () => {
  const upstream = await Upstream.start();
  try {
    const settings = { TRELLIS_CONFIG: upstream.configuration };
    await withServer(settings, async (server) => {
      await upstream.isDescribed(server.url);
      const watch = new Watch();
      const page = await open(allowed, watch);
      for (const name of CLIENTS) {
        const task = { name, gateway: server.url, script: SHOP_SCRIPT };
        const seen = await page.evaluate((it) => window.trellis.shopScenario(it.name, it.gateway, it.script), task);
        assert.deepEqual(seen, SHOP_SCRIPT.observations, name);
      }
      watch.check();
    });
  } finally {
    upstream.stop();
  }
});

visit("no client may call from an origin that is not named", async (server) => {
  const page = await open(stranger, new Watch());
  const complaints: string[] = [];
  page.on("console", (message) => complaints.push(message.text()));
  for (const name of CLIENTS) {
    const task = { name, gateway: server.url, script: SCRIPT };
    const refusals = await page.evaluate((it) => window.trellis.callFromForbiddenOrigin(it.name, it.gateway, it.script), task);
    // The clients invent different codes; none could read the server's response.
    assert.deepEqual(refusals.map(({ reason }) => reason), ["", ""], name);
  }
  const isPolicy = (complaint: string) => complaint.includes("blocked by CORS policy");
  assert.equal(complaints.filter(isPolicy).length, 2 * CLIENTS.length);
  const others = complaints.filter((complaint) => !isPolicy(complaint) && !complaint.includes("net::ERR_FAILED"));
  assert.deepEqual(others, []);
  // The preflight requests were refused, so no call started.
  assert.doesNotMatch(server.output(), /rpc\.method/);
});

visit("the SDK's calls start a trace, and the server logs it", async (server, watch) => {
  const page = await open(allowed, watch);
  const sent: (string | undefined)[] = [];
  page.on("request", (request) => {
    if (request.method() === "POST") sent.push(request.headers()["traceparent"]);
  });
  await page.evaluate((it) => window.trellis.useSdk(it.gateway, it.script), { gateway: server.url, script: SCRIPT });
  const traces = sent.map((place) => /^00-([0-9a-f]{32})-[0-9a-f]{16}-00$/.exec(place ?? "")?.[1]);
  assert.equal(new Set(traces).size, 2, sent.join());
  for (const trace of traces) assert.ok(trace && server.output().includes(trace), `${trace} is in no line`);
  watch.check();
});

/** The binary grpc-web client receives messages only at the end of a stream, so the server ends it. */
function steps(name: ClientName): string[] {
  const isLive = name !== "grpc-web, binary";
  return SCRIPT.steps.map((step) => (isLive ? step : step.replace("CANCELLED", "DEADLINE_EXCEEDED")));
}

/** Defines a test with its own server. */
function visit(name: string, run: (server: Server, watch: Watch) => Promise<void>): void {
  // A stream opens only after the server has noticed the cancellation of the previous one.
  const settings = { TRELLIS_MESSAGING__STREAMS_PER_SESSION: "1" };
  test(name, { timeout: 120_000 }, () => withServer(settings, (server) => run(server, new Watch())));
}

/** Runs a test with a server that the site may call. Prints the server's output when the test fails. */
async function withServer(settings: Settings, run: (server: Server) => Promise<void>): Promise<void> {
  const server = await Server.start({ TRELLIS_GATEWAY__CORS_ORIGINS: allowed.url, ...settings });
  try {
    await run(server);
  } catch (error) {
    console.error(server.output());
    throw error;
  } finally {
    await server.stop();
  }
}

async function open(site: Site, watch: Watch): Promise<Page> {
  return (await Person.arrive(browser, site.url, watch)).open();
}
