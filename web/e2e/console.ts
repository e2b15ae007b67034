// Actions on the console, and assertions about what it shows.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import type { Locator, Page } from "playwright-core";

const PATIENCE_MS = 30_000;

export interface Account {
  readonly name: string;
  readonly handle: string;
  readonly email: string;
  readonly password: string;
}

export function account(name: string): Account {
  const handle = name.toLowerCase().replaceAll(" ", "_");
  return { name, handle, email: `${handle}@example.com`, password: `the password of ${name}` };
}

export async function signUp(page: Page, { name, handle, email, password }: Account): Promise<void> {
  await page.getByRole("button", { name: "Create an account" }).click();
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Handle").fill(handle);
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Create account" }).click();
  await isConnected(page);
}

export async function signIn(page: Page, { email, password }: Account): Promise<void> {
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await isConnected(page);
}

export async function isConnected(page: Page): Promise<void> {
  await connection(page, "live").waitFor({ state: "attached" });
}

export async function isReconnecting(page: Page): Promise<void> {
  await connection(page, "reconnecting").waitFor({ state: "attached" });
}

function connection(page: Page, state: string): Locator {
  return page.locator(`.connection[data-connection="${state}"]`);
}

/** The label of the search for people. */
export const FIND_PEOPLE = "Find people by name or handle";

/** Starts a conversation with users of the directory. */
export async function startConversation(page: Page, people: readonly Account[], title = ""): Promise<void> {
  await page.getByRole("button", { name: "New conversation" }).click();
  const dialog = page.getByRole("dialog");
  for (const { handle, name } of people) {
    await dialog.getByLabel(FIND_PEOPLE).fill(`@${handle}`);
    await dialog.getByRole("checkbox", { name: `${name} @${handle}` }).check();
  }
  await dialog.getByLabel("Name (optional)").fill(title);
  await dialog.getByRole("button", { name: /^Start/ }).click();
  await composer(page).waitFor();
  // Some of the users may have been invited only.
  const invited = page.getByRole("dialog", { name: /^Invitations? sent$/ });
  await eventually(async () => {
    if (await invited.isVisible()) await invited.getByRole("button", { name: "OK" }).click();
    assert.equal(await page.getByRole("dialog").count(), 0);
  });
}

export async function openConversation(page: Page, name: string): Promise<void> {
  await page.getByRole("link", { name: new RegExp(name) }).click();
  await composer(page).waitFor();
}

export async function send(page: Page, text: string): Promise<void> {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}

export function composer(page: Page): Locator {
  return page.getByLabel("Message", { exact: true });
}

export function messages(page: Page): Promise<string[]> {
  return page.locator(".message .bubble").allTextContents();
}

/** Waits until the open conversation shows exactly these messages. The failure shows the difference. */
export async function shows(page: Page, expected: readonly string[]): Promise<void> {
  await eventually(async () => assert.deepEqual(await messages(page), expected));
}

/** Waits until every message of the user is acknowledged. */
export async function allSent(page: Page): Promise<void> {
  await eventually(async () => assert.equal(await page.locator(".message.sending, .message.failed").count(), 0));
}

/** Repeats a check until it holds. Fails with its last error. */
export async function eventually(check: () => Promise<void>): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(50);
    }
  }
}

/** The message with `text` in the open conversation. */
export function message(page: Page, text: string): Locator {
  return page.locator(".message", { hasText: text });
}

/** Chooses an item of a message's menu. */
export async function choose(page: Page, text: string, action: string): Promise<void> {
  await message(page, text).hover();
  await message(page, text).getByRole("button", { name: "Message actions" }).click();
  await page.getByRole("menuitem", { name: action }).click();
}

/** Confirms the question of a dialog. */
export async function confirm(page: Page, action: string): Promise<void> {
  await page.getByRole("dialog").last().getByRole("button", { name: action, exact: true }).click();
}

export async function openDetails(page: Page): Promise<Locator> {
  await page.getByRole("button", { name: "Conversation details" }).click();
  return page.getByRole("dialog", { name: "Conversation" });
}

/** Opens a tab of the account dialog. */
export async function openAccount(page: Page, tab: "Profile" | "Privacy" | "Sessions" | "E-mail" | "Security" | "Accounts"): Promise<Locator> {
  await page.getByRole("button", { name: /^Your account:/ }).click();
  const dialog = page.getByRole("dialog", { name: "Your account" });
  await dialog.getByRole("tab", { name: tab }).click();
  return dialog;
}

export async function closeDialog(page: Page): Promise<void> {
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
}

/** Waits until the page shows that the user is signed out. */
export async function isSignedOut(page: Page): Promise<void> {
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
}
