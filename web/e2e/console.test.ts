// Tests the console in a real browser against the real server.

import assert from "node:assert/strict";
import { accessibilityProblems } from "./accessibility.js";
import {
  account,
  allSent,
  composer,
  eventually,
  isConnected,
  isReconnecting,
  messages,
  openConversation,
  send,
  shows,
  signIn,
  signUp,
  startConversation,
} from "./console.js";
import { artifact } from "./environment.js";
import { stage } from "./scenario.js";

const ada = account("Ada Lovelace");
const bob = account("Bob Marsh");
const cleo = account("Cleo Hart");

// people.test.ts and conversations.test.ts test the rules for adding users.
const scenario = stage({ TRELLIS_MESSAGING__ADD_RULE: "anyone" });

scenario("two users chat live, and a killed server neither loses nor duplicates messages", async (arrive, watch, server) => {
  const adas = await (await arrive({ colorScheme: "light" })).open();
  const bobs = await (await arrive({ colorScheme: "dark" })).open();
  await signUp(adas, ada);
  await signUp(bobs, bob);

  await startConversation(adas, [bob]);
  await send(adas, "Good morning, Bob. Did the seedlings arrive?");
  await openConversation(bobs, ada.name);
  await send(bobs, "All forty of them, an hour ago.\nThe beans look happiest.");
  const texts = [
    "Good morning, Bob. Did the seedlings arrive?",
    "All forty of them, an hour ago.\nThe beans look happiest.",
  ];
  await shows(adas, texts);
  await shows(bobs, texts);

  await watch.whileServerIsDown(async () => {
    await send(adas, "Then the trellis goes up today. I bring the twine.");
    await server.kill();
    await isReconnecting(adas);
    await isReconnecting(bobs);
    await send(adas, "And the long ladder.");
    await send(adas, "See you at ten?");
    await adas.locator(".message.sending").first().waitFor();
    await server.run();
    await isConnected(adas);
    await isConnected(bobs);
  });
  const afterwards = [
    ...texts,
    "Then the trellis goes up today. I bring the twine.",
    "And the long ladder.",
    "See you at ten?",
  ];
  await shows(adas, afterwards);
  await shows(bobs, afterwards);
  await allSent(adas);
  await send(bobs, "Ten it is.");
  await shows(adas, [...afterwards, "Ten it is."]);
  await shows(bobs, [...afterwards, "Ten it is."]);

  await adas.screenshot({ path: artifact("console-desktop-light.png") });
  await bobs.screenshot({ path: artifact("console-desktop-dark.png") });
});

scenario("messages written while the server is down survive a reload", async (arrive, watch, server) => {
  const adas = await (await arrive()).open();
  await signIn(adas, ada);
  await openConversation(adas, bob.name);
  // The newest message is there before the history.
  await eventually(async () => assert.ok((await messages(adas)).includes("Good morning, Bob. Did the seedlings arrive?")));
  const before = await messages(adas);
  await watch.whileServerIsDown(async () => {
    await server.kill();
    await isReconnecting(adas);
    await send(adas, "Written while the server was down");
    // The page closes while the message is pending. The next visit sends it.
    await adas.reload().catch(() => {});
    await server.run();
    await adas.reload();
    await isConnected(adas);
  });
  await shows(adas, [...before, "Written while the server was down"]);
  await allSent(adas);
});

scenario("a reload and a second tab keep the session, and signing out ends it in both", async (arrive) => {
  const person = await arrive();
  const first = await person.open();
  await signUp(first, cleo);
  await first.reload();
  await isConnected(first);
  const second = await person.open();
  await isConnected(second);
  await first.bringToFront();

  await first.getByRole("button", { name: "Sign out" }).click();
  await first.getByRole("heading", { name: "Sign in" }).waitFor();
  await second.getByRole("heading", { name: "Sign in" }).waitFor();
  await first.reload();
  await first.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.deepEqual(await person.context.cookies(), []);
});

scenario("no script can read the session's tokens", async (arrive) => {
  const person = await arrive();
  const page = await person.open();
  await signIn(page, ada);
  const cookies = await person.context.cookies();
  assert.ok(cookies.length > 0);
  for (const { httpOnly, sameSite } of cookies) {
    assert.ok(httpOnly);
    assert.notEqual(sameSite, "None");
  }
  const stored = await page.evaluate(() => Object.entries({ ...localStorage, ...sessionStorage }));
  assert.deepEqual(stored, [["trellis.signed-in", "1"]]);
});

scenario("the keyboard alone signs up, opens a conversation and sends", async (arrive) => {
  const page = await (await arrive()).open();
  const { keyboard } = page;
  const dora = account("Dora Finch");
  const focusIsOn = (name: string) =>
    eventually(async () => {
      const focused = page.locator(":focus");
      assert.equal((await focused.getAttribute("aria-label")) ?? (await focused.textContent()), name);
    });
  const tab = async (times: number) => {
    for (let i = 0; i < times; i += 1) await keyboard.press("Tab");
  };

  // The e-mail field has the focus at first.
  await page.locator("input[name=email]:focus").waitFor();
  await tab(3);
  await focusIsOn("Create an account");
  await keyboard.press("Enter");
  for (const text of [dora.name, dora.handle, dora.email, dora.password]) {
    await keyboard.type(text);
    await keyboard.press("Tab");
  }
  await focusIsOn("Create account");
  await keyboard.press("Enter");
  await isConnected(page);

  await tab(1);
  await focusIsOn("New conversation");
  await keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await focusIsOn("New conversation");

  await keyboard.press("Enter");
  await keyboard.type(bob.handle);
  await page.getByRole("checkbox", { name: bob.name }).waitFor();
  await eventually(async () => assert.equal(await page.getByRole("checkbox").count(), 1));
  await tab(1);
  await keyboard.press("Space");
  await tab(1);
  await keyboard.press("Enter");
  await composer(page).and(page.locator(":focus")).waitFor();

  await keyboard.type("First line");
  await keyboard.press("Shift+Enter");
  await keyboard.type("second line");
  await keyboard.press("Enter");
  await shows(page, ["First line\nsecond line"]);
});

scenario("on a phone the list and the conversation are two views", async (arrive) => {
  const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
  const page = await (await arrive(phone)).open();
  await page.screenshot({ path: artifact("console-phone-sign-in.png") });
  await signIn(page, bob);
  await page.screenshot({ path: artifact("console-phone-list.png") });
  const list = page.getByRole("navigation", { name: "Conversations" });
  await openConversation(page, ada.name);
  await list.waitFor({ state: "hidden" });
  await eventually(async () => assert.ok((await messages(page)).length > 0));
  await page.screenshot({ path: artifact("console-phone-chat.png") });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 360, `the page is ${width} px wide`);
  await page.getByRole("button", { name: "Back to the conversations" }).click();
  await list.waitFor();
  // The focus returns to the previous element.
  await page.getByRole("link", { name: ada.name }).and(page.locator(":focus")).waitFor();
});

scenario("errors are shown beside their field, or in a sentence", async (arrive) => {
  const page = await (await arrive()).open();
  await page.getByLabel("E-mail").fill(ada.email);
  await page.getByLabel("Password").fill("not the password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("password is wrong").waitFor();

  await page.getByRole("button", { name: "Create an account" }).click();
  await page.getByLabel("Your name").fill("Ada Again");
  await page.getByLabel("Handle").fill("Not A Handle");
  await page.getByLabel("E-mail").fill("ada.again@example.com");
  await page.getByLabel("Password").fill("short");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.locator("input[name=handle][aria-invalid=true]:focus").waitFor();
  await page.getByText("with a letter first").waitFor();
  await page.locator("input[name=password][aria-invalid=true]").waitFor();

  await page.getByLabel("Handle").fill(ada.handle);
  await page.getByLabel("Password").fill("correct horse battery staple");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByText("This handle is taken").waitFor();
});

scenario("messages of other conversations are counted as unread until they are read", async (arrive) => {
  const adas = await (await arrive()).open();
  const bobs = await (await arrive()).open();
  await signIn(adas, ada);
  await signIn(bobs, bob);
  await openConversation(bobs, ada.name);
  await send(bobs, "Are you there?");
  await adas.getByLabel("1 unread").waitFor();
  assert.equal(await adas.title(), "(1) Trellis");
  await openConversation(adas, bob.name);
  await adas.getByLabel("1 unread").waitFor({ state: "detached" });
  assert.equal(await adas.title(), "Trellis");
});

scenario("a refused message shows the reason, and the next one is sent", async (arrive) => {
  const page = await (await arrive()).open();
  await signIn(page, ada);
  await openConversation(page, bob.name);
  await send(page, "beans ".repeat(4_000));
  await send(page, "Shorter, then.");
  const failed = page.locator(".message.failed");
  await failed.getByText(/^Not sent\. ./).waitFor();
  await page.locator(".message.sent", { hasText: "Shorter, then." }).waitFor();
  await failed.getByRole("button", { name: "Try again" }).click();
  await failed.getByRole("button", { name: "Delete" }).click();
  await failed.waitFor({ state: "detached" });
});

scenario("older messages are read while scrolling up", async (arrive) => {
  const page = await (await arrive()).open();
  await signIn(page, ada);
  await startConversation(page, [bob, cleo], "Rows of beans");
  await page.getByText("3 members").waitFor();
  const texts = Array.from({ length: 70 }, (_, i) => `Bean ${i + 1}`);
  for (const text of texts) await send(page, text);
  await shows(page, texts);
  await allSent(page);
  await page.reload();
  await shows(page, texts.slice(-50));
  await page.getByRole("region", { name: "Messages" }).focus();
  await page.keyboard.press("Home");
  await shows(page, texts);
});

scenario("axe finds no violation, in light and dark", async (arrive) => {
  for (const colorScheme of ["light", "dark"] as const) {
    const page = await (await arrive({ colorScheme })).open();
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.screenshot({ path: artifact(`console-sign-in-${colorScheme}.png`) });
    await signIn(page, ada);
    await openConversation(page, bob.name);
    await eventually(async () => assert.ok((await messages(page)).length > 0));
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.getByRole("button", { name: "New conversation" }).click();
    await page.getByRole("checkbox").first().waitFor();
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.screenshot({ path: artifact(`console-dialog-${colorScheme}.png`) });
  }
});

scenario("the page carries a content security policy without exceptions", async (_arrive, _watch, server) => {
  const policy = (await fetch(server.url)).headers.get("content-security-policy") ?? "";
  for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]) {
    assert.ok(policy.includes(rule), `${rule} in ${JSON.stringify(policy)}`);
  }
  assert.ok(!policy.includes("unsafe"), policy);
});
