// Tests conversations: editing and deleting messages, read marks, joining and leaving.

import assert from "node:assert/strict";

import type { Page } from "playwright-core";

import { accessibilityProblems } from "./accessibility.js";
import {
  account,
  choose,
  closeDialog,
  composer,
  confirm,
  eventually,
  FIND_PEOPLE,
  message,
  messages,
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

const ada = account("Ada Lovelace");
const bob = account("Bob Marsh");
const cleo = account("Cleo Hart");

const scenario = stage();

scenario("edits and deletions reach all members, at once and after a reload", async (arrive) => {
  const adas = await (await arrive()).open();
  const bobs = await (await arrive()).open();
  await signUp(adas, ada);
  await signUp(bobs, bob);
  await startConversation(adas, [bob]);
  await send(adas, "The beans come on Munday");
  await send(adas, "And the peas never");
  await openConversation(bobs, ada.name);
  await shows(bobs, ["The beans come on Munday", "And the peas never"]);
  // Ada is not a contact of Bob until he accepts.
  const request = bobs.getByRole("group", { name: "Request" });
  await request.getByRole("button", { name: "Accept" }).click();
  await request.waitFor({ state: "hidden" });

  await composer(adas).fill("half a thought");
  await choose(adas, "Munday", "Edit");
  await adas.getByText("Editing a message").waitFor();
  await composer(adas).fill("The beans come on Monday");
  await composer(adas).press("Enter");
  await message(adas, "on Monday").getByText("Edited").waitFor();
  // The draft is restored.
  assert.equal(await composer(adas).inputValue(), "half a thought");
  await message(bobs, "on Monday").getByText("Edited").waitFor();

  // The arrow key in an empty composer edits the last message, Esc cancels.
  await composer(adas).fill("");
  await composer(adas).press("ArrowUp");
  await eventually(async () => assert.equal(await composer(adas).inputValue(), "And the peas never"));
  await composer(adas).press("Escape");
  await adas.getByText("Editing a message").waitFor({ state: "hidden" });
  assert.equal(await composer(adas).inputValue(), "");

  await choose(adas, "And the peas never", "Delete…");
  await confirm(adas, "Delete");
  const left = ["The beans come on Monday", "Message deleted"];
  await shows(adas, left);
  await shows(bobs, left);
  // Bob cannot change Ada's message.
  await message(bobs, "on Monday").hover();
  await message(bobs, "on Monday").getByRole("button", { name: "Message actions" }).click();
  assert.deepEqual(await bobs.getByRole("menuitem").allTextContents(), ["Copy text"]);
  await bobs.keyboard.press("Escape");

  await bobs.reload();
  await shows(bobs, left);
  await message(bobs, "on Monday").getByText("Edited").waitFor();
});

scenario("a conversation opens at its first unread message, and only messages on the screen are marked as read", async (arrive) => {
  const reader = account("Nora Long");
  const writer = account("Otto Short");
  const adas = await (await arrive()).open();
  const bobs = await (await arrive({ viewport: { width: 900, height: 500 } })).open();
  await signUp(bobs, reader);
  await signUp(adas, writer);
  await startConversation(adas, [reader]);
  for (let i = 1; i <= 40; i += 1) await send(adas, `Line ${i}.`);
  await message(adas, "Line 40.").getByText("Sent").waitFor();
  await bobs.getByLabel("40 unread").waitFor();

  await openConversation(bobs, writer.name);
  await bobs.getByText("New messages", { exact: true }).waitFor();
  await message(bobs, "Line 1.").waitFor();
  const unread = async () => Number(/^\((\d+)\)/.exec(await bobs.title())?.[1] ?? 0);
  await eventually(async () => assert.ok((await unread()) < 40, "the first messages were on screen"));
  assert.ok((await unread()) > 10, "the last messages were not on screen");
  assert.ok(await message(adas, "Line 40.").getByText("Sent").isVisible());

  // The author of a request does not see read marks before it is accepted.
  await bobs.getByRole("group", { name: "Request" }).getByRole("button", { name: "Accept" }).click();
  await bobs.getByRole("button", { name: "Newest messages" }).click();
  await message(adas, "Line 40.").getByText("Read").waitFor();
  await eventually(async () => assert.equal(await unread(), 0));
});

scenario("a draft survives a reload, and an open conversation on a phone shows a lost connection", async (arrive, watch, server) => {
  const person = await arrive({ viewport: { width: 360, height: 740 } });
  const page = await person.open();
  await signIn(page, account("Otto Short"));
  await openConversation(page, "Nora Long");
  await composer(page).fill("half a thought");
  await page.reload();
  await composer(page).waitFor();
  assert.equal(await composer(page).inputValue(), "half a thought");
  await watch.whileServerIsDown(async () => {
    await server.kill();
    await page.getByText("No connection. Your messages are sent when it returns.").waitFor();
    await page.screenshot({ path: artifact("console-phone-offline.png") });
    await server.run();
    await page.getByText("No connection.").waitFor({ state: "hidden" });
  });
});

scenario("unread counts survive a reload, and read marks reach the author and the reader's other devices", async (arrive) => {
  const adas = await (await arrive()).open();
  const bobs = await (await arrive()).open();
  const bobsPhone = await (await arrive({ viewport: { width: 360, height: 740 } })).open();
  await signIn(adas, ada);
  await signIn(bobs, bob);
  await signIn(bobsPhone, bob);
  await openConversation(adas, bob.name);
  await send(adas, "One");
  await send(adas, "Two");
  await bobs.getByLabel("2 unread").waitFor();
  await bobs.reload();
  await bobs.getByLabel("2 unread").waitFor();
  await bobsPhone.getByLabel("2 unread").waitFor();
  await message(adas, "Two").getByText("Sent").waitFor();

  await openConversation(bobs, ada.name);
  await message(adas, "Two").getByText("Read").waitFor();
  await bobsPhone.getByLabel("2 unread").waitFor({ state: "detached" });
  await bobs.reload();
  await shows(bobs, ["The beans come on Monday", "Message deleted", "One", "Two"]);
  assert.equal(await bobs.getByLabel(/unread/).count(), 0);
});

scenario("a group is renamed, grows and shrinks, and only its owner removes members", async (arrive) => {
  const adas = await (await arrive()).open();
  const bobs = await (await arrive()).open();
  const cleos = await (await arrive()).open();
  await signIn(adas, ada);
  await signIn(bobs, bob);
  await signUp(cleos, cleo);
  await startConversation(adas, [bob], "Rows of beans");
  await send(adas, "Before Cleo came");
  await openConversation(bobs, "Rows of beans");
  await send(bobs, "Bob was here");
  await shows(adas, ["Before Cleo came", "Bob was here"]);

  let details = await openDetails(adas);
  await details.getByLabel("Name").fill("Rows of peas");
  await details.getByRole("button", { name: "Save the name" }).click();
  await details.getByText("Saved.").waitFor();
  await bobs.getByRole("heading", { name: "Rows of peas" }).waitFor();

  await details.getByRole("button", { name: "Add people" }).click();
  const adding = adas.getByRole("dialog", { name: "Add people" });
  await adding.getByLabel(FIND_PEOPLE).fill("hart");
  await adding.getByRole("checkbox", { name: cleo.name }).check();
  await adding.getByRole("button", { name: "Add", exact: true }).click();
  // Cleo is not a contact of Ada: she gets an invitation, and sees nothing before she accepts it.
  const invited = adas.getByRole("dialog", { name: "Invitation sent" });
  await invited.getByText(cleo.name).waitFor();
  await invited.getByRole("button", { name: "OK" }).click();
  await cleos.getByText(`${ada.name} invites you to \u201cRows of peas\u201d.`).waitFor();
  assert.equal(await cleos.getByRole("link", { name: /Rows of peas/ }).count(), 0);
  await cleos.getByRole("list", { name: "Invitations" }).getByRole("button", { name: "Accept" }).click();
  await details.getByText("3 members").waitFor();
  await adas.screenshot({ path: artifact("console-details.png") });
  // The accepted conversation opens.
  await shows(cleos, ["Before Cleo came", "Bob was here"]);
  for (const page of [adas, bobs]) await page.getByText(`${cleo.name} joined`, { exact: true }).waitFor();
  await bobs.getByText(`${ada.name} named the conversation Rows of peas`).waitFor();
  await adas.getByText("You named the conversation Rows of peas").waitFor();
  // The lines are part of the history: they are there after a reload, and for a member who joined later.
  await bobs.reload();
  for (const page of [bobs, cleos]) {
    await page.getByText(`${ada.name} named the conversation Rows of peas`).waitFor();
  }
  await bobs.getByText(`${cleo.name} joined`, { exact: true }).waitFor();
  // The count is for the owner to see too: of the members who joined later, and after a reload.
  await closeDialog(adas);
  await message(adas, "Before Cleo came").getByText("Read by 2").waitFor();
  await adas.reload();
  await message(adas, "Before Cleo came").getByText("Read by 2").waitFor();

  // Only the owner removes members and deletes other members' messages.
  const bobsDetails = await openDetails(bobs);
  await bobsDetails.getByText("Owner", { exact: true }).filter({ visible: true }).waitFor();
  assert.equal(await bobsDetails.getByRole("button", { name: /^Remove/ }).count(), 0);
  await closeDialog(bobs);
  await choose(adas, "Bob was here", "Delete…");
  await confirm(adas, "Delete");
  await shows(bobs, ["Before Cleo came", "Message deleted"]);

  details = await openDetails(adas);
  await details.getByRole("button", { name: `Remove ${bob.name}` }).click();
  await confirm(adas, "Remove");
  await details.getByText("2 members").waitFor();
  await closeDialog(adas);
  await bobs.getByText("This conversation does not exist, or you are not a member.").waitFor();
  assert.equal(await bobs.getByRole("link", { name: /Rows of peas/ }).count(), 0);

  // When the owner leaves, another member becomes the owner.
  details = await openDetails(adas);
  await details.getByRole("button", { name: "Leave…" }).click();
  await confirm(adas, "Leave");
  await adas.getByText("Choose a conversation").waitFor();
  assert.equal(await adas.getByRole("link", { name: /Rows of peas/ }).count(), 0);
  const cleosDetails = await openDetails(cleos);
  await cleosDetails.getByText("1 member", { exact: true }).waitFor();
  await cleosDetails.getByText("Owner", { exact: true }).filter({ visible: true }).waitFor();
  await closeDialog(cleos);
  await cleos.getByText(`${ada.name} removed ${bob.name}`).waitFor();
  await cleos.getByText(`${ada.name} left`, { exact: true }).waitFor();
  await cleos.getByText("Everyone else has left this conversation.").waitFor();
  assert.deepEqual(await accessibilityProblems(cleos), []);
  await cleos.screenshot({ path: artifact("console-notices.png") });
});

scenario("a direct conversation opens from a group", async (arrive) => {
  const adas = await (await arrive()).open();
  await signIn(adas, ada);
  const cleos = await (await arrive()).open();
  await signIn(cleos, cleo);
  await startConversation(adas, [bob, cleo]);
  const details = await openDetails(adas);
  await cleos.getByRole("list", { name: "Invitations" }).getByRole("button", { name: "Accept" }).click();
  await details.getByText("3 members").waitFor();
  await details.getByRole("button", { name: `Message ${bob.name}` }).click();
  await details.waitFor({ state: "hidden" });
  // The existing conversation, not a second one.
  await eventually(async () => assert.ok((await messages(adas)).includes("The beans come on Monday")));
});

scenario("axe finds no violation in menus and details, in light and dark", async (arrive) => {
  for (const colorScheme of ["light", "dark"] as const) {
    const page = await (await arrive({ colorScheme })).open();
    await signIn(page, ada);
    await openConversation(page, `^${bob.name} You:`);
    await checkMenu(page, `console-menu-${colorScheme}.png`);
    await openDetails(page);
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.screenshot({ path: artifact(`console-details-${colorScheme}.png`) });
    await closeDialog(page);
  }
});

/** Opens and closes a message's menu with the keyboard alone. */
async function checkMenu(page: Page, picture: string): Promise<void> {
  await eventually(async () => assert.ok((await messages(page)).includes("Two")));
  await composer(page).focus();
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: "Edit" }).and(page.locator(":focus")).waitFor();
  assert.deepEqual(await accessibilityProblems(page), []);
  await page.screenshot({ path: artifact(picture) });
  await page.keyboard.press("Escape");
  await message(page, "One").getByRole("button", { name: "Message actions" }).and(page.locator(":focus")).waitFor();
}
