// Tests the search for people, requests, invitations and blocks.

import assert from "node:assert/strict";

import type { Locator, Page } from "playwright-core";

import { accessibilityProblems } from "./accessibility.js";
import {
  account,
  closeDialog,
  composer,
  confirm,
  eventually,
  FIND_PEOPLE,
  message,
  openAccount,
  openConversation,
  openDetails,
  send,
  shows,
  signIn,
  signUp,
  startConversation,
} from "./console.js";
import { artifact } from "./environment.js";
import { stage } from "./scenario.js";

const ada = { ...account("Ada Lovelace"), handle: "countess" };
const eve = { ...account("Évelyne Brown"), handle: "eve_b", email: "eve@example.com" };
const mallory = account("Mallory Pike");

const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };

const scenario = stage();

async function search(page: Page): Promise<Locator> {
  await page.getByRole("button", { name: "New conversation" }).click();
  return page.getByRole("dialog", { name: "New conversation" });
}

/** Asserts which people the search offers. */
async function offers(dialog: Locator, query: string, expected: readonly string[]): Promise<void> {
  await dialog.getByLabel(FIND_PEOPLE).fill(query);
  await eventually(async () => assert.deepEqual(await dialog.getByRole("listitem").allTextContents(), expected));
}

async function fits(page: Page): Promise<void> {
  const [page_, dialog] = await page.evaluate(() => {
    const shown = document.querySelector("dialog");
    return [document.documentElement.scrollWidth, shown ? shown.scrollWidth - shown.clientWidth : 0];
  });
  assert.deepEqual([page_, dialog], [360, 0], "nothing is wider than the phone");
}

scenario("a new user finds people by the beginning of a name, with the keyboard alone", async (arrive) => {
  const adas = await (await arrive()).open();
  const eves = await (await arrive()).open();
  await signUp(eves, eve);
  await signUp(adas, ada);
  const dialog = await search(adas);
  const found = [`ÉB${eve.name}@${eve.handle}`];
  await eventually(async () => assert.deepEqual(await dialog.getByRole("listitem").allTextContents(), found));
  // In any letter case, by any word, by either form of the accent, and by the handle.
  for (const query of ["BROWN", "E\u0301velyne b", "évelyne", "@Eve", "eve_b"]) await offers(dialog, query, found);
  await offers(dialog, "a name without a user", []);
  await dialog.getByText("No matches. If you have not talked with them yet, enter the full handle, such as @ada_l.").waitFor();
  assert.deepEqual(await accessibilityProblems(adas), []);

  // Without a choice, the form shows what to do.
  await dialog.getByRole("button", { name: "Start conversation" }).click();
  await dialog.getByText("Choose at least one person from the list first.").waitFor();

  // Enter right after typing waits for the results of what was typed, and ignores those of the query before.
  await offers(dialog, "eve", found);
  await dialog.getByLabel(FIND_PEOPLE).fill("no such name");
  await dialog.getByLabel(FIND_PEOPLE).press("Enter");
  await dialog.getByText("No matches.").waitFor();
  assert.equal(await dialog.getByRole("checkbox").count(), 0);
  await dialog.getByLabel(FIND_PEOPLE).fill("brown");
  await dialog.getByLabel(FIND_PEOPLE).press("Enter");
  await dialog.getByRole("checkbox", { name: eve.name, checked: true }).waitFor();
  await adas.keyboard.press("ArrowDown");
  await dialog.getByRole("checkbox", { name: eve.name }).and(adas.locator(":focus")).waitFor();
  await adas.keyboard.press("ArrowUp");
  await dialog.getByLabel(FIND_PEOPLE).and(adas.locator(":focus")).waitFor();
  await dialog.getByRole("button", { name: "Start conversation" }).press("Enter");
  await composer(adas).waitFor();
});

scenario("a stranger's request is accepted, declined or blocked, and the user is unblocked in the account", async (arrive) => {
  const adas = await (await arrive()).open();
  const mallorys = await (await arrive()).open();
  const eves = await (await arrive(PHONE)).open();
  await signIn(adas, ada);
  await signIn(eves, eve);
  await signUp(mallorys, mallory);

  await openConversation(adas, eve.name);
  await send(adas, "May I?");
  await openConversation(eves, ada.name);
  const request = eves.getByRole("group", { name: "Request" });
  await request.getByText(`${ada.name} is not one of your contacts.`).waitFor();
  await fits(eves);
  assert.deepEqual(await accessibilityProblems(eves), []);
  await eves.screenshot({ path: artifact("console-phone-request.png") });
  await request.getByRole("button", { name: "Accept" }).click();
  await request.waitFor({ state: "hidden" });

  await startConversation(mallorys, [eve]);
  await send(mallorys, "Buy beans!");
  await eves.getByRole("button", { name: "Back to the conversations" }).click();
  await eves.getByRole("link", { name: new RegExp(mallory.name) }).getByText("Request", { exact: true }).waitFor();
  await openConversation(eves, mallory.name);
  await request.getByRole("button", { name: "Block…" }).click();
  await eves.getByText("They can no longer write to you in a conversation of two").waitFor();
  await confirm(eves, "Block");
  await eves.getByRole("link", { name: new RegExp(mallory.name) }).waitFor({ state: "detached" });

  const dialog = await search(mallorys);
  await offers(dialog, "brown", [`ÉB${eve.name}@${eve.handle}`]);
  await dialog.getByLabel(FIND_PEOPLE).press("Enter");
  await dialog.getByRole("button", { name: "Start conversation" }).click();
  await dialog.getByText("One of these people does not accept conversations from you.").waitFor();

  const privacy = await openAccount(eves, "Privacy");
  const blocked = privacy.getByRole("list", { name: "Blocked people" });
  await blocked.getByText(mallory.name).waitFor();
  await fits(eves);
  assert.deepEqual(await accessibilityProblems(eves), []);
  await eves.screenshot({ path: artifact("console-phone-privacy.png") });
  await blocked.getByRole("button", { name: `Unblock ${mallory.name}` }).click();
  await privacy.getByText("You have not blocked any people.").waitFor();
  await dialog.getByRole("button", { name: "Start conversation" }).click();
  await composer(mallorys).waitFor();
});

scenario("the rule for adding a user is chosen with the keyboard, and survives a reload", async (arrive) => {
  const eves = await (await arrive({ colorScheme: "dark" })).open();
  await signIn(eves, eve);
  let privacy = await openAccount(eves, "Privacy");
  const group = privacy.getByRole("group", { name: "People who may add you to conversations" });
  await group.getByRole("radio", { name: "People you talk with", checked: true }).focus();
  await eves.keyboard.press("ArrowDown");
  await group.getByText("Saved.").waitFor();
  assert.deepEqual(await accessibilityProblems(eves), []);
  await eves.screenshot({ path: artifact("console-privacy-dark.png") });
  await eves.reload();
  privacy = await openAccount(eves, "Privacy");
  await privacy.getByRole("radio", { name: "No one", checked: true }).waitFor();
  await privacy.getByRole("radio", { name: "People you talk with" }).check();
  await privacy.getByText("Saved.").waitFor();
});

scenario("the page names people who were only invited, and the owner restricts adding", async (arrive) => {
  const adas = await (await arrive()).open();
  const eves = await (await arrive(PHONE)).open();
  await signIn(adas, ada);
  await signIn(eves, eve);
  const dialog = await search(adas);
  for (const { name } of [eve, mallory]) {
    await dialog.getByLabel(FIND_PEOPLE).fill(name);
    await dialog.getByRole("checkbox", { name }).check();
  }
  await dialog.getByLabel("Name (optional)").fill("Rows of beans");
  await dialog.getByRole("button", { name: "Start with 2 people" }).click();
  // Eve and Ada are contacts; Mallory is not a contact of Ada.
  const invited = adas.getByRole("dialog", { name: "Invitation sent" });
  await invited.waitFor();
  assert.deepEqual(await invited.getByRole("listitem").allTextContents(), [`${mallory.name} @${mallory.handle}`]);
  assert.deepEqual(await accessibilityProblems(adas), []);
  await adas.screenshot({ path: artifact("console-invited.png") });
  await invited.getByRole("button", { name: "OK" }).press("Enter");
  await invited.waitFor({ state: "hidden" });

  await openConversation(eves, "Rows of beans");
  let details = await openDetails(eves);
  await details.getByRole("button", { name: "Add people" }).waitFor();
  await fits(eves);
  await eves.screenshot({ path: artifact("console-phone-details.png") });
  const adasDetails = await openDetails(adas);
  await adasDetails.getByRole("radio", { name: "Only you" }).check();
  await adasDetails.getByText("Saved.").waitFor();
  await details.getByText("Only the owner of this conversation can add people.").waitFor();
  await details.getByRole("button", { name: "Add people" }).waitFor({ state: "hidden" });
  assert.equal(await details.getByRole("radio").filter({ visible: true }).count(), 0, "the choice is the owner's");

  // A member is blocked and unblocked in the details.
  await details.getByRole("button", { name: `Block ${ada.name}` }).click();
  await confirm(eves, "Block");
  await details.getByText(`${ada.name} is blocked.`).waitFor();
  await closeDialog(eves);
  details = await openDetails(eves);
  await details.getByRole("button", { name: `Unblock ${ada.name}` }).click();
  await details.getByText(`${ada.name} is unblocked.`).waitFor();
  await closeDialog(eves);

  // In the conversation of the two a block is shown, and lifted.
  await closeDialog(adas);
  await eves.getByRole("button", { name: "Back to the conversations" }).click();
  await openConversation(eves, `^${ada.name}`);
  await blockOther(eves, ada.name);
  const block = eves.getByRole("group", { name: "Block" });
  await block.getByText(`You blocked ${ada.name}.`).waitFor();
  await fits(eves);
  assert.deepEqual(await accessibilityProblems(eves), []);
  await eves.screenshot({ path: artifact("console-phone-blocked.png") });
  await eves.reload();
  await openConversation(adas, `^${eve.name}`);
  await send(adas, "Are you there?");
  await adas.getByText("Not sent. This person does not accept messages from you.").waitFor();
  await adas.getByRole("button", { name: "Delete", exact: true }).click();
  await block.getByRole("button", { name: "Unblock" }).click();
  await block.waitFor({ state: "hidden" });
});

/** Blocks the other member of the open conversation in its details. */
async function blockOther(page: Page, name: string): Promise<void> {
  const details = await openDetails(page);
  await details.getByRole("button", { name: `Block ${name}` }).click();
  await confirm(page, "Block");
  await details.getByText(`${name} is blocked.`).waitFor();
  await closeDialog(page);
}

scenario("messages in a hidden tab stay unread on both devices, also when some are erased", async (arrive) => {
  const adas = await (await arrive()).open();
  const person = await arrive();
  const eves = await person.open();
  const evesOther = await (await arrive()).open();
  for (const [page, who] of [[adas, ada], [eves, eve], [evesOther, eve]] as const) await signIn(page, who);
  await openConversation(adas, `^${eve.name}`);
  await openConversation(eves, `^${ada.name}`);
  await shows(eves, ["May I?"]);
  await hide(eves, true);
  for (const text of ["One", "Two", "Three"]) await send(adas, text);
  await shows(eves, ["May I?", "One", "Two", "Three"]);
  await evesOther.getByLabel("3 unread").waitFor();
  assert.equal(await eves.title(), "(3) Trellis");

  await message(adas, "Two").hover();
  await message(adas, "Two").getByRole("button", { name: "Message actions" }).click();
  await adas.getByRole("menuitem", { name: "Delete…" }).click();
  await confirm(adas, "Delete");
  await evesOther.getByLabel("2 unread").waitFor();
  await eventually(async () => assert.equal(await eves.title(), "(2) Trellis"));
  await message(adas, "Three").getByText("Sent").waitFor();

  await hide(eves, false);
  await message(adas, "Three").getByText("Read").waitFor();
  await evesOther.getByLabel(/unread/).waitFor({ state: "detached" });
  // The user's own messages are never unread, on any device.
  await send(eves, "Four");
  await shows(adas, ["May I?", "One", "Message deleted", "Three", "Four"]);
  await adas.reload();
  await eventually(async () => assert.equal(await evesOther.title(), "Trellis"));
  await evesOther.reload();
  await evesOther.getByText("Four").first().waitFor();
  assert.equal(await evesOther.getByLabel(/unread/).count(), 0);
});

/** Moves the tab to the background or back. In headless Chromium every tab is visible. */
async function hide(page: Page, hidden: boolean): Promise<void> {
  await page.evaluate((isHidden) => {
    Object.defineProperty(document, "visibilityState", { configurable: true, get: () => (isHidden ? "hidden" : "visible") });
    Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}
