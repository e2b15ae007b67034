// The GraphQL explorer at /graphiql, in a browser.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Browser, BrowserContextOptions, Page } from "playwright-core";

import { accessibilityProblems } from "./accessibility.js";
import { launch, Person, Watch } from "./browser.js";
import { artifact } from "./environment.js";
import { Server } from "./server.js";

const PHONE: BrowserContextOptions = { viewport: { width: 360, height: 740 } };
const ACCOUNT = { email: "ada@example.org", password: "the password of ada", handle: "ada" };
const SIGN_UP = `mutation ($email: String!, $password: String!, $handle: String!) {
  signUp(email: $email, password: $password, handle: $handle, displayName: $handle) { tokens { accessToken userId } } }`;

let browser: Browser;
let server: Server;
let token: string;
let bobId: string;

before(async () => {
  server = await Server.start({ TRELLIS_GATEWAY__GRAPHQL__ENABLED: "true" });
  browser = await launch();
  const bob = await post(SIGN_UP, { ...ACCOUNT, email: "bob@example.org", handle: "bob" });
  bobId = bob.signUp.tokens.userId;
  token = (await post(SIGN_UP, ACCOUNT)).signUp.tokens.accessToken;
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function post(query: string, variables: Record<string, unknown>): Promise<any> {
  const headers = { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(`${server.url}/graphql`, { method: "POST", headers, body: JSON.stringify({ query, variables }) });
  const { data, errors } = (await response.json()) as { data: any; errors?: unknown };
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}

/** Opens the page, does something there, and checks the console. */
async function visit(task: (page: Page) => Promise<void>, options: BrowserContextOptions = {}): Promise<void> {
  const watch = new Watch();
  const person = await Person.arrive(browser, `${server.url}/graphiql`, watch, options);
  const page = await person.open();
  await page.getByRole("heading", { name: "Operation" }).waitFor();
  await task(page);
  watch.check();
  await person.context.close();
}

async function signIn(page: Page): Promise<void> {
  await page.getByText("Not signed in").click();
  await page.getByLabel("E-mail address").fill(ACCOUNT.email);
  await page.getByLabel("Password").fill(ACCOUNT.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Signed in", { exact: true }).waitFor();
}

/** Replaces the document and the variables, and runs them with the keyboard. */
async function run(page: Page, document: string, variables = ""): Promise<void> {
  await page.getByLabel("Variables (JSON)").fill(variables);
  await page.getByLabel("Document").fill(document);
  await page.keyboard.press("Control+Enter");
}

const problem = (page: Page, text: string) => page.locator(".errors").getByText(text);
const result = (page: Page) => page.getByRole("region", { name: /^Result \d/ }).first();

test("an operation runs with variables and a token", async () => {
  await visit(async (page) => {
    // The first document runs as it is.
    await page.getByRole("button", { name: "Run" }).click();
    await result(page).getByText('"kid"').first().waitFor();
    const document = "query Find($query: String) { listUsers(query: $query) { nodes { handle } } }";
    await run(page, document, '{ "query": "ada" }');
    await problem(page, "UNAUTHENTICATED").waitFor();
    await signIn(page);
    await run(page, document, '{ "query": "ada" }');
    await result(page).getByText('"handle": "ada"').waitFor();
    await page.getByText(/^Completed in \d+ ms\.$/).waitFor();
    await page.screenshot({ path: artifact("explorer.png") });
    assert.deepEqual(await accessibilityProblems(page), []);
    // The session is that of the console, and outlives a reload. So does the document.
    await page.reload();
    await page.getByText("Signed in", { exact: true }).waitFor();
    assert.equal(await page.getByLabel("Document").inputValue(), document);
    await page.getByText("Signed in", { exact: true }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
    // A token of elsewhere.
    await page.getByLabel("Another access token").fill(token);
    await run(page, document, '{ "query": "ada" }');
    await result(page).getByText('"handle": "ada"').waitFor();
  });
});

test("a subscription shows its results until it is stopped", async () => {
  await visit(async (page) => {
    await signIn(page);
    await run(page, "subscription { subscribe { caughtUp conversation { title } } }");
    await page.getByText(/^The subscription is open\. Results: \d+\.$/).waitFor();
    const create = `mutation ($id: String!, $ids: [String!]!) {
      createConversation(requestId: $id, memberIds: $ids, title: "Lunch") { conversation { title } } }`;
    await post(create, { id: crypto.randomUUID(), ids: [bobId] });
    await page.locator(".results pre", { hasText: '"title": "Lunch"' }).first().waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText(/^Stopped\. Results: \d+\.$/).waitFor();
  });
});

test("errors lead to their place in the document", async () => {
  await visit(async (page) => {
    await run(page, "{\n  getJwks {\n    nothing\n  }\n}");
    await problem(page, "GRAPHQL_VALIDATION_FAILED").waitFor();
    await page.getByRole("button", { name: "Line 3, column 5" }).click();
    const selected = () => page.getByLabel("Document").evaluate((area: HTMLTextAreaElement) => area.value.slice(area.selectionStart, area.selectionEnd));
    assert.equal(await selected(), "nothing");
    await run(page, "{ getJwks { __typename } }", "{ no JSON");
    await problem(page, "The variables are not JSON").waitFor();
    assert.deepEqual(await accessibilityProblems(page), []);
  });
});

test("the schema offers examples, fields and completions", async () => {
  await visit(async (page) => {
    await page.getByLabel("Search the schema").fill("getUser");
    await page.locator("summary", { hasText: /^getUser$/ }).click();
    await page.getByRole("button", { name: "Use as example" }).click();
    const document = page.getByLabel("Document");
    assert.match(await document.inputValue(), /^query GetUser\(\$userId: String!\) \{\n {2}getUser\(userId: \$userId\) \{\n {4}user \{\n {6}userId\n/);
    assert.deepEqual(JSON.parse(await page.getByLabel("Variables (JSON)").inputValue()), { userId: "" });
    // The keyboard alone completes a name.
    await document.fill("");
    await document.pressSequentially("{ listU");
    await page.getByRole("option", { name: /listUsers/ }).waitFor();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await document.pressSequentially(" { nodes { handle } } }");
    await page.keyboard.press("Escape");
    assert.equal(await document.inputValue(), "{ listUsers { nodes { handle } } }");
    await page.keyboard.press("Control+Enter");
    await problem(page, "UNAUTHENTICATED").waitFor();
    await page.getByText("History").click();
    await page.getByRole("button", { name: "{ listUsers { nodes { handle } } }" }).waitFor();
  });
});

test("the explorer fits a phone, in light and dark", async () => {
  for (const colorScheme of ["light", "dark"] as const) {
    await visit(
      async (page) => {
        await page.getByText("Not signed in").click();
        await page.locator("summary", { hasText: "Schema" }).click();
        await page.locator("summary", { hasText: /^listMessages$/ }).click();
        await page.getByRole("button", { name: "Use as example" }).click();
        await page.getByLabel("Document").focus();
        await page.keyboard.press("Control+Enter");
        await problem(page, "UNAUTHENTICATED").waitFor();
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
        await page.screenshot({ path: artifact(`explorer-phone-${colorScheme}.png`) });
        assert.deepEqual(await accessibilityProblems(page), []);
      },
      { ...PHONE, colorScheme },
    );
  }
});

test("the explorer is linked, and can be switched off", async () => {
  const watch = new Watch();
  const person = await Person.arrive(browser, `${server.url}/docs`, watch);
  const page = await person.open();
  await page.getByRole("link", { name: "GraphQL explorer" }).click();
  await page.getByRole("heading", { name: "GraphQL explorer" }).waitFor();
  watch.check();
  await person.context.close();
  const other = await Server.start({ TRELLIS_GATEWAY__GRAPHQL__ENABLED: "true", TRELLIS_GATEWAY__GRAPHQL__EXPLORER: "false" });
  assert.equal((await fetch(`${other.url}/graphiql`)).status, 404);
  const { explorer } = (await (await fetch(`${other.url}/openapi`)).json()) as { explorer?: string };
  assert.equal(explorer, undefined);
  await other.stop();
});
