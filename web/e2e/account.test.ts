// Tests accounts and sessions, with access tokens so short that every test uses several.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import type { BrowserContext } from "playwright-core";

import { accessibilityProblems } from "./accessibility.js";
import {
  account,
  closeDialog,
  eventually,
  isConnected,
  isSignedOut,
  openAccount,
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

const ACCESS_LIFETIME_S = 3;

const scenario = stage({
  TRELLIS_AUTH__ACCESS_LIFETIME: `${ACCESS_LIFETIME_S}s`,
});

const ENDED = "your session has ended";

scenario("two tabs with expiring tokens stay signed in and miss no event", async (arrive) => {
  const adas = await arrive();
  const first = await adas.open();
  await signUp(first, ada);
  const bobs = await (await arrive()).open();
  await signUp(bobs, bob);
  await startConversation(bobs, [ada]);
  const second = await adas.open();
  const texts: string[] = [];
  const rotations = new Set<string>();
  // Four lifetimes of a token.
  for (let i = 1; i <= 2 * 4; i += 1) {
    texts.push(`Number ${i}`);
    await send(bobs, `Number ${i}`);
    rotations.add(await refreshToken(adas.context));
    await sleep((ACCESS_LIFETIME_S * 1_000) / 2);
  }
  assert.ok(rotations.size >= 3, `the refresh token was replaced ${rotations.size - 1} times`);
  for (const tab of [first, second]) {
    await isConnected(tab);
    await openConversation(tab, bob.name);
    await shows(tab, texts);
  }
});

scenario("a stolen old refresh token ends the session for thief and owner", async (arrive) => {
  const victim = await arrive();
  const page = await victim.open();
  await signIn(page, ada);
  const stolen = (await victim.context.cookies()).filter(({ value }) => value !== "");
  const old = await refreshToken(victim.context);
  // After its successor was used, the old token no longer counts as a retry after a lost response.
  await eventually(async () => assert.notEqual(await refreshToken(victim.context), old));
  const successor = await refreshToken(victim.context);
  await eventually(async () => assert.notEqual(await refreshToken(victim.context), successor));

  const thief = await arrive();
  await thief.context.addCookies(stolen);
  await thief.context.addInitScript(() => localStorage.setItem("trellis.signed-in", "1"));
  const thiefs = await thief.open();
  await isSignedOut(thiefs);
  await page.getByText(ENDED).waitFor();
  await isSignedOut(page);
  // The owner signs in again, with a new token family.
  await signIn(page, ada);
});

scenario("a session on another device is ended, one or all", async (arrive) => {
  const here = await (await arrive()).open();
  const there = await (await arrive()).open();
  const elsewhere = await (await arrive()).open();
  for (const page of [there, elsewhere, here]) await signIn(page, bob);
  let sessions = await openAccount(here, "Sessions");
  await eventually(async () => assert.ok((await sessions.getByRole("listitem").count()) >= 3));
  await sessions.getByText("This device").waitFor();
  await here.screenshot({ path: artifact("console-sessions.png") });

  // The session that was used last is first, before or after the current one.
  const others = sessions.getByRole("listitem").filter({ hasNotText: "This device" });
  await others.first().getByRole("button", { name: /^Sign out/ }).click();
  await sessions.getByText("The session is signed out.").waitFor();
  await eventually(async () => {
    const counts = await Promise.all([there, elsewhere].map((page) => page.getByText(ENDED).count()));
    assert.equal(counts.reduce((sum, count) => sum + count, 0), 1);
  });
  await sessions.getByRole("button", { name: "Sign out all other devices" }).click();
  await sessions.getByText("Your other devices are signed out.").waitFor();
  await there.getByText(ENDED).waitFor();
  await elsewhere.getByText(ENDED).waitFor();
  await closeDialog(here);
  await isConnected(here);
  sessions = await openAccount(here, "Sessions");
  await eventually(async () => assert.equal(await sessions.getByRole("listitem").count(), 1));
});

scenario("a new password ends the other sessions, and the old one is invalid", async (arrive) => {
  const here = await (await arrive()).open();
  const there = await (await arrive()).open();
  await signUp(here, cleo);
  await signIn(there, cleo);
  const security = await openAccount(here, "Security");
  await security.getByLabel("Current password").fill("not my password");
  await security.getByLabel("New password").fill("the new password of Cleo");
  await security.getByRole("button", { name: "Change password" }).click();
  await security.getByText("This password is wrong.").waitFor();
  await security.getByLabel("Current password").fill(cleo.password);
  await security.getByText("At least 15 characters").waitFor();
  await security.getByLabel("New password").fill("passwordpassword");
  await security.getByRole("button", { name: "Change password" }).click();
  await security.getByText("This password is too easy to guess: repeated text adds little; use different words.").waitFor();
  await security.getByLabel("New password").fill("the new password of Cleo");
  await security.getByRole("button", { name: "Change password" }).click();
  await security.getByText("Your password is changed.").waitFor();
  await there.getByText(ENDED).waitFor();
  await closeDialog(here);
  await isConnected(here);

  await there.getByLabel("E-mail").fill(cleo.email);
  await there.getByLabel("Password").fill(cleo.password);
  await there.getByRole("button", { name: "Sign in" }).click();
  await there.getByText("password is wrong").waitFor();
  await signIn(there, { ...cleo, password: "the new password of Cleo" });
});

scenario("other users see a new name and handle", async (arrive) => {
  const bobs = await (await arrive()).open();
  await signIn(bobs, bob);
  const profile = await openAccount(bobs, "Profile");
  await profile.getByLabel("Handle").fill(ada.handle);
  await profile.getByRole("button", { name: "Save" }).click();
  await profile.getByText("This handle is taken").waitFor();
  await profile.getByLabel("Handle").fill("robert");
  await profile.getByLabel("Your name").fill("Robert Marsh");
  await profile.getByRole("button", { name: "Save" }).click();
  await profile.getByText("Saved.").waitFor();
  await closeDialog(bobs);
  await bobs.getByRole("button", { name: /Robert Marsh/ }).waitFor();
  const adas = await (await arrive()).open();
  await signIn(adas, ada);
  await openConversation(adas, "Robert Marsh");
  await adas.getByText("@robert").waitFor();
});

scenario("a deleted account is signed out, has no profile, and cannot sign in", async (arrive) => {
  const bobs = await (await arrive()).open();
  const adas = await (await arrive()).open();
  await signIn(adas, ada);
  await openConversation(adas, "Robert Marsh");
  await signIn(bobs, bob);
  const security = await openAccount(bobs, "Security");
  await bobs.screenshot({ path: artifact("console-security.png") });
  await security.getByLabel("Password", { exact: true }).fill(bob.password);
  await security.getByRole("button", { name: "Delete my account" }).click();
  await isSignedOut(bobs);
  await adas.getByText("Only you").first().waitFor();
  await bobs.getByLabel("E-mail").fill(bob.email);
  await bobs.getByLabel("Password").fill(bob.password);
  await bobs.getByRole("button", { name: "Sign in" }).click();
  await bobs.getByText("password is wrong").waitFor();
});

scenario("axe finds no violation in the account dialog, in light and dark", async (arrive) => {
  for (const colorScheme of ["light", "dark"] as const) {
    const page = await (await arrive({ colorScheme })).open();
    await signIn(page, ada);
    for (const tab of ["Profile", "Sessions", "Security"] as const) {
      const dialog = await openAccount(page, tab);
      await eventually(async () => assert.equal(await dialog.getByText(/^Loading/).count(), 0));
      assert.deepEqual(await accessibilityProblems(page), []);
      await page.screenshot({ path: artifact(`console-account-${tab.toLowerCase()}-${colorScheme}.png`) });
      await closeDialog(page);
    }
  }
});

/** Returns the session's cookie, which no script on the page can read. */
async function refreshToken(context: BrowserContext): Promise<string> {
  // Over plain HTTP there is one for each path of a method that reads it.
  const values = new Set((await context.cookies()).map(({ value }) => value));
  assert.equal(values.size, 1);
  const [value = ""] = values;
  return value;
}
