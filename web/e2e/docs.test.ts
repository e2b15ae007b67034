// Tests the reference page at /docs.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Browser, BrowserContextOptions, Page } from "playwright-core";

import { accessibilityProblems } from "./accessibility.js";
import { launch, Person, Watch } from "./browser.js";
import { artifact } from "./environment.js";
import { Server } from "./server.js";

const PHONE: BrowserContextOptions = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
/** A document of an external upstream. */
const SHOP = {
  openapi: "3.1.0",
  info: { title: "acme.shop.v1", version: "1" },
  tags: [{ name: "acme.shop.v1.Shop" }],
  paths: {
    "/shop/notes/{id}": {
      get: {
        operationId: "Shop_GetNote",
        tags: ["acme.shop.v1.Shop"],
        summary: "Returns a <b>note</b>",
        responses: { default: { description: "Any." } },
      },
    },
  },
  components: { schemas: {}, responses: {}, headers: {} },
};

let server: Server;
let browser: Browser;

before(async () => {
  server = await Server.start();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Opens the page, does something there, and checks the console. */
async function visit(task: (page: Page) => Promise<void>, options: BrowserContextOptions = {}, hash = ""): Promise<void> {
  const watch = new Watch();
  const person = await Person.arrive(browser, `${server.url}/docs${hash}`, watch, options);
  const page = await person.open();
  await page.getByRole("heading", { name: "UsersService" }).waitFor();
  await task(page);
  watch.check();
  await person.context.close();
}

/** The section of an operation. */
function operation(page: Page, id: string) {
  return page.locator(`[id="${id}"]`);
}

test("an operation shows its schemas, errors and curl line", async () => {
  await visit(
    async (page) => {
      const section = operation(page, "MessagingService_SendMessage");
      await section.locator("summary").first().click();
      const text = section.locator("pre");
      assert.match(await text.innerText(), /curl -X POST 'http:\/\/localhost:\d+\/v1\/conversations\/[0-9a-f-]+\/messages'/);
      assert.match(await text.innerText(), /"text":"Lunch at one\?"/);
      await section.getByText("at most 16384 bytes").waitFor();
      await section.getByText("Needs an access token.").waitFor();
      await section.getByText("429", { exact: true }).waitFor();
      await section.getByRole("button", { name: "Copy" }).click();
      await section.getByText("Copied").waitFor();
      assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await text.innerText());
      await section.locator(".responses > li").first().getByText("application/json").click();
      await section.getByText("SendMessageResponse").or(section.getByText("The entry of the message.")).first().waitFor();
      await page.screenshot({ path: artifact("docs.png") });
      assert.deepEqual(await accessibilityProblems(page), []);
    },
    { permissions: ["clipboard-read", "clipboard-write"] },
  );
});

test("the search leaves the operations with all words", async () => {
  await visit(async (page) => {
    const all = await page.getByRole("status").first().innerText();
    assert.match(all, /^\d+ operations$/);
    // The keyboard alone: `/` moves to the search.
    await page.keyboard.press("/");
    await page.keyboard.type("post member");
    await page.getByText(/^\d operations?$/).waitFor();
    assert.equal(await operation(page, "MessagingService_AddMember").isVisible(), true);
    assert.equal(await operation(page, "UsersService_GetUser").isVisible(), false);
    await page.keyboard.type(" nothing like this");
    await page.getByText("No operations").waitFor();
  });
});

test("an address opens an operation, and the keyboard closes it", async () => {
  await visit(
    async (page) => {
      const section = operation(page, "UsersService_GetUser");
      await section.locator("pre").waitFor();
      await page.keyboard.press("Enter");
      await section.locator("pre").waitFor({ state: "hidden" });
    },
    {},
    "#UsersService_GetUser",
  );
});

test("nothing is wider than a phone, in light and dark", async () => {
  for (const colorScheme of ["light", "dark"] as const) {
    await visit(
      async (page) => {
        await operation(page, "MessagingService_Subscribe").locator("summary").first().click();
        await operation(page, "MessagingService_Subscribe").locator(".responses > li").first().getByText("text/event-stream").click();
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
        await page.screenshot({ path: artifact(`docs-phone-${colorScheme}.png`) });
        assert.deepEqual(await accessibilityProblems(page), []);
      },
      { ...PHONE, colorScheme },
    );
  }
});

test("documents of upstreams can be chosen; text is no markup", async () => {
  const watch = new Watch();
  const person = await Person.arrive(browser, `${server.url}/docs`, watch);
  const documents = [{ title: "acme.shop.v1", path: "/openapi/acme.shop.v1.json" }, { title: "Trellis", path: "/openapi.json" }];
  await person.context.route("**/openapi", (route) => route.fulfill({ json: { documents } }));
  await person.context.route("**/openapi/acme.shop.v1.json", (route) => route.fulfill({ json: SHOP }));
  const page = await person.open();
  await page.getByRole("heading", { name: "UsersService" }).waitFor();
  await page.getByLabel("Document").selectOption("acme.shop.v1");
  await page.getByText("Returns a <b>note</b>").waitFor();
  // The address names the document.
  await page.reload();
  await page.getByText("Returns a <b>note</b>").waitFor();
  watch.check();
  await person.context.close();
});

test("the reference is off together with the documents", async () => {
  const other = await Server.start({ TRELLIS_GATEWAY__JSON__OPENAPI: "false" });
  for (const path of ["/docs", "/docs/", "/openapi", "/openapi.json"]) {
    assert.equal((await fetch(other.url + path)).status, 404, path);
  }
  await other.stop();
  const page = await fetch(`${server.url}/docs`);
  assert.match(page.headers.get("content-security-policy") ?? "", /script-src 'self'/);
});
