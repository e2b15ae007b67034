// Tests the links in e-mails, with the mailbox of a server that has no SMTP server.

import assert from "node:assert/strict";

import type { Page } from "playwright-core";

import { accessibilityProblems } from "./accessibility.js";
import { account, closeDialog, eventually, isConnected, isSignedOut, openAccount, signIn, signUp } from "./console.js";
import { artifact } from "./environment.js";
import { stage } from "./scenario.js";
import type { Server } from "./server.js";

const ada = account("Ada Lovelace");
const NEW_PASSWORD = "the new password of Ada";

const scenario = stage();

/** The address of the mailbox, which the server prints. */
function mailboxOf(server: Server): string {
  const [, address] = /mailbox {2}(http\S+)/.exec(server.output()) ?? [];
  assert.ok(address, "the server prints the address of its mailbox");
  return address;
}

/** Opens the mailbox, and follows the link of the newest e-mail with this subject. */
async function follow(page: Page, server: Server, recipient: string, subject: string): Promise<void> {
  await page.goto(mailboxOf(server));
  const mail = page.getByRole("listitem").filter({ hasText: recipient }).filter({ has: page.getByRole("heading", { name: subject }) });
  await eventually(async () => {
    if ((await mail.count()) === 0) await page.getByRole("button", { name: "Reload" }).click();
    assert.ok((await mail.count()) > 0);
  });
  await mail.first().getByRole("link").click();
}

scenario("an address is verified, and a forgotten password is set anew", async (arrive, _watch, server) => {
  const page = await (await arrive()).open();
  await signUp(page, ada);
  const email = await openAccount(page, "E-mail");
  await email.getByText("is not verified").waitFor();
  await closeDialog(page);

  const there = await (await arrive()).open();
  await follow(there, server, ada.email, "Verify your e-mail address");
  assert.deepEqual(await accessibilityProblems(there), []);
  await there.getByRole("button", { name: "Verify this address" }).click();
  await there.getByRole("heading", { name: "Your address is verified" }).waitFor();
  await there.getByRole("button", { name: "Continue" }).click();
  await isSignedOut(there);
  const verified = await openAccount(page, "E-mail");
  await verified.getByText("is verified").waitFor();
  await closeDialog(page);

  await there.getByRole("button", { name: "Set a new one" }).click();
  await there.getByLabel("E-mail").fill(ada.email);
  await there.getByRole("button", { name: "Send a link" }).click();
  await there.getByText("is on its way").waitFor();
  await follow(there, server, ada.email, "Set a new password");
  await there.getByLabel("New password").fill(NEW_PASSWORD);
  await there.screenshot({ path: artifact("console-reset-password.png") });
  await there.getByRole("button", { name: "Set password" }).click();
  await there.getByRole("heading", { name: "Your password is changed" }).waitFor();
  await page.getByText("your session has ended").waitFor();
  await there.getByRole("button", { name: "Continue" }).click();
  assert.doesNotMatch(there.url(), /trm_/);
  await signIn(there, { ...ada, password: NEW_PASSWORD });
});

scenario("a changed address is confirmed, and its change undone", async (arrive, _watch, server) => {
  const page = await (await arrive()).open();
  await signIn(page, { ...ada, password: NEW_PASSWORD });
  const email = await openAccount(page, "E-mail");
  await email.getByLabel("New e-mail").fill("eve@example.com");
  await email.getByLabel("Password").fill(NEW_PASSWORD);
  await email.getByRole("button", { name: "Change address" }).click();
  await email.getByText("Open the link in the e-mail").waitFor();
  await closeDialog(page);

  const there = await (await arrive()).open();
  await follow(there, server, "eve@example.com", "Confirm your new e-mail address");
  await there.getByRole("button", { name: "Confirm this address" }).click();
  await there.getByRole("heading", { name: "Your address is changed" }).waitFor();
  await isConnected(page);
  await follow(there, server, ada.email, "Your e-mail address was changed");
  await there.getByRole("button", { name: "Undo the change" }).click();
  await there.getByRole("heading", { name: "Your address is restored" }).waitFor();
  await page.getByText("your session has ended").waitFor();
});

scenario("the page of a link leads on when the link cannot be used", async (arrive, _watch, server) => {
  const page = await (await arrive()).open();
  await isSignedOut(page);
  await page.goto(`${server.url}/#/reset-password/trm_unknown`);
  await page.getByLabel("New password").fill(NEW_PASSWORD);
  await page.getByRole("button", { name: "Set password" }).click();
  await page.getByText("This link was used before").waitFor();
  await page.goBack();
  await isSignedOut(page);
  await page.goForward();
  await page.getByRole("button", { name: "Ask for a new one" }).click();
  await page.getByLabel("E-mail").fill("grace@example.org");
  await page.getByRole("button", { name: "Send a link" }).click();
  await page.getByText("is on its way").waitFor();
  await page.getByRole("button", { name: "Sign in" }).click();
  await isSignedOut(page);
  assert.doesNotMatch(page.url(), /trm_/);

  await page.goto(mailboxOf(server).replace(/[^/]*$/, ""));
  await page.getByText("prints the whole address on its terminal").waitFor();
  await page.getByRole("button", { name: "Leave" }).click();
  await isSignedOut(page);
});

scenario("axe finds no violation on the pages of links, in light and dark", async (arrive, _watch, server) => {
  for (const colorScheme of ["light", "dark"] as const) {
    const page = await (await arrive({ colorScheme })).open();
    await page.goto(mailboxOf(server));
    await page.getByRole("listitem").first().waitFor();
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.screenshot({ path: artifact(`console-mailbox-${colorScheme}.png`) });
    for (const name of ["reset-password", "verify-email", "confirm-email", "undo-email-change"]) {
      await page.goto(`${server.url}/#/${name}/trm_unknown`);
      await page.getByRole("heading").first().waitFor();
      assert.deepEqual(await accessibilityProblems(page), []);
    }
    await page.getByRole("button", { name: "Undo the change" }).click();
    await page.getByText("This link was used before").waitFor();
  }
});
