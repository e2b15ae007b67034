// Browser contexts, one per user. Errors in their consoles fail the test.

import assert from "node:assert/strict";

import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from "playwright-core";

import { required } from "./environment.js";

/** The timeout of actions on the page. A debug build hashes passwords slowly. */
const PATIENCE_MS = 20_000;

export function launch(): Promise<Browser> {
  // Chromium reloads a page that failed to load a second later, which would abort a test's own reload.
  const args = ["--disable-auto-reload"];
  // Chromium's sandbox does not start as root.
  if (process.getuid?.() === 0) args.push("--no-sandbox");
  return chromium.launch({ executablePath: required("TRELLIS_TEST_CHROMIUM"), args });
}

/** Collects errors from consoles and content security policies. */
export class Watch {
  readonly #errors: string[] = [];
  #serverIsDown = false;
  readonly #allowed: RegExp | undefined;

  /** `allowed` matches console errors that are expected. */
  constructor(allowed?: RegExp) {
    this.#allowed = allowed;
  }

  /** While the server is down, failed connections are expected. */
  async whileServerIsDown(task: () => Promise<void>): Promise<void> {
    this.#serverIsDown = true;
    await task();
    this.#serverIsDown = false;
  }

  follow(page: Page): void {
    page.on("pageerror", (error) => this.#errors.push(String(error)));
    page.on("console", (message) => {
      const text = message.text();
      const isNetwork = text.includes("net::ERR_");
      const isExpected = (isNetwork && this.#serverIsDown) || this.#allowed?.test(text) === true;
      if (message.type() === "error" && !isExpected) this.#errors.push(text);
    });
  }

  check(): void {
    assert.deepEqual(this.#errors, [], "errors in the browsers' consoles");
  }
}

/** The browser of one user. */
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

  /** Opens the console in a tab. */
  async open(): Promise<Page> {
    const page = await this.context.newPage();
    this.#watch.follow(page);
    const response = await page.goto(this.#url);
    assert.equal(response?.status(), 200);
    return page;
  }
}
