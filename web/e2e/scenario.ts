// The fixture of a browser test: a server, a browser, and users.

import { after, before, test } from "node:test";

import type { Browser } from "playwright-core";

import { launch, Person, Watch } from "./browser.js";
import { Server, type Settings } from "./server.js";

export type Arrive = (options?: Parameters<typeof Person.arrive>[3]) => Promise<Person>;
export type Run = (arrive: Arrive, watch: Watch, server: Server) => Promise<void>;

const TIMEOUT_MS = 180_000;

/** Starts a server and a browser for the tests of a file. Returns the function that defines a test. */
export function stage(settings: Settings = {}): (name: string, run: Run) => void {
  let server: Server;
  let browser: Browser;
  before(async () => {
    server = await Server.start(settings);
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });
  return (name, run) => {
    test(name, { timeout: TIMEOUT_MS }, () => play(browser, server, run));
  };
}

/** Runs one test with its own users. Prints the server's output when it fails. */
async function play(browser: Browser, server: Server, run: Run): Promise<void> {
  const watch = new Watch();
  const people: Person[] = [];
  const arrive: Arrive = async (options) => {
    const person = await Person.arrive(browser, server.url, watch, options);
    people.push(person);
    return person;
  };
  try {
    await run(arrive, watch, server);
    watch.check();
  } catch (error) {
    console.error(server.output());
    throw error;
  } finally {
    for (const { context } of people) await context.close();
  }
}
