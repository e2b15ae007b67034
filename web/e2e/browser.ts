// Browsers of people: each a context of its own, and each watched for what goes wrong in its console.

import assert from "node:assert/strict";

import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";

import { required } from "./environment.js";

/** How long something on the page may take; a debug build hashes passwords slowly. */
const PATIENCE_MS = 20_000;

export function launch(): Promise<Browser> {
  // By itself Chromium loads a page again that it could not load, a second later: a test's own reload would be aborted.
  const args = ["--disable-auto-reload"];
  // Chromium's sandbox does not start as root.
  if (process.getuid?.() === 0) args.push("--no-sandbox");
  return chromium.launch({ executablePath: required("TRELLIS_TEST_CHROMIUM"), args });
}

/** Collects what consoles and content security policies complain of. */
export class Watch {
  readonly #complaints: string[] = [];
  #serverIsAway = false;

  /** While the server is away, failed connections are no complaint. */
  async whileServerIsAway(task: () => Promise<void>): Promise<void> {
    this.#serverIsAway = true;
    await task();
    this.#serverIsAway = false;
  }

  follow(page: Page): void {
    page.on("pageerror", (error) => this.#complaints.push(String(error)));
    page.on("console", (message) => {
      const text = message.text();
      const isNetwork = text.includes("net::ERR_");
      if (message.type() === "error" && !(isNetwork && this.#serverIsAway)) this.#complaints.push(text);
    });
  }

  check(): void {
    assert.deepEqual(this.#complaints, [], "complaints in the browsers' consoles");
  }
}

/** One person's browser. */
export class Person {
  readonly context: BrowserContext;
  readonly #url: string;
  readonly #watch: Watch;

  private constructor(context: BrowserContext, url: string, watch: Watch) {
    this.context = context;
    this.#url = url;
    this.#watch = watch;
  }

  static async arrive(browser: Browser, url: string, watch: Watch, options: BrowserContextOptions = {}): Promise<Person> {
    const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, ...options });
    context.setDefaultTimeout(PATIENCE_MS);
    return new Person(context, url, watch);
  }

  /** A tab on the console. */
  async open(): Promise<Page> {
    const page = await this.context.newPage();
    this.#watch.follow(page);
    const answer = await page.goto(this.#url);
    assert.equal(answer?.status(), 200);
    return page;
  }
}
