// Tests what admins do on the page: the one-time link, accounts, roles, and the password that some actions ask for again.

import assert from "node:assert/strict";

import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, AnySchema } from "@bufbuild/protobuf/wkt";
import type { Page } from "playwright-core";

import { ErrorInfoSchema } from "../client/src/gen/google/rpc/error_details_pb.js";
import { accessibilityProblems } from "./accessibility.js";
import { account, closeDialog, confirm, isConnected, isSignedOut, openAccount, signIn, signUp } from "./console.js";
import { artifact } from "./environment.js";
import { stage } from "./scenario.js";

const ada = account("Ada Lovelace");
const bob = account("Bob Marsh");

const scenario = stage();

scenario("a one-time link makes the account that opens it an admin", async (arrive, _, server) => {
  const page = await (await arrive()).open();
  const link = server.adminLink();
  await page.goto(link);
  await page.getByText("Sign in, or create an account, to become an admin.").waitFor();
  // The code stays in no address and no history.
  assert.equal(new URL(page.url()).hash, "#/");
  await signUp(page, ada);
  const dialog = page.getByRole("dialog", { name: "Become an admin" });
  assert.deepEqual(await accessibilityProblems(page), []);
  await dialog.getByRole("button", { name: "Become an admin" }).click();
  await dialog.waitFor({ state: "hidden" });
  await openAccount(page, "Accounts");
  await closeDialog(page);
  // The link works once.
  await page.goto(link);
  await dialog.getByRole("button", { name: "Become an admin" }).click();
  await dialog.getByText("This link is wrong, was used, or has expired.").waitFor();
});

scenario("an admin suspends and restores an account and changes its roles", async (arrive) => {
  const bobs = await (await arrive()).open();
  await signUp(bobs, bob);
  assert.equal(await accountTabs(bobs), "Profile Privacy Sessions E-mail Security");
  const page = await (await arrive()).open();
  await signIn(page, ada);
  const accounts = await openAccount(page, "Accounts");
  await accounts.getByRole("textbox", { name: "E-mail" }).fill(bob.email);
  await accounts.getByRole("button", { name: "Find accounts" }).click();
  await accounts.getByRole("listitem").filter({ hasText: ada.email }).waitFor({ state: "detached" });
  const act = async (action: string) => {
    await accounts.getByRole("button", { name: `Manage ${bob.email}` }).click();
    await page.getByRole("menuitem", { name: action }).click();
  };
  await act("Give the role support");
  await accounts.getByText(`${bob.email} has the role support.`).waitFor();
  assert.deepEqual(await accessibilityProblems(page), []);
  await page.screenshot({ path: artifact("console-accounts.png") });
  // The server finds the proof too old.
  await page.route("**/trellis.auth.v1.AuthService/SuspendAccount", (route) => route.fulfill(proofRequired()), { times: 1 });
  await act("Suspend");
  await confirm(page, "Suspend");
  const proof = page.getByRole("dialog", { name: "Confirm that it is you" });
  assert.deepEqual(await accessibilityProblems(page), []);
  await proof.getByLabel("Password").fill("not my password");
  await proof.getByRole("button", { name: "Continue" }).click();
  await proof.getByText("This password is wrong.").waitFor();
  await proof.getByLabel("Password").fill(ada.password);
  await proof.getByRole("button", { name: "Continue" }).click();
  await accounts.getByText(`${bob.email} is suspended.`).waitFor();
  await isSignedOut(bobs);
  await act("Restore");
  await accounts.getByText(`${bob.email} is restored and can sign in.`).waitFor();
  await signIn(bobs, bob);
  await isConnected(bobs);
  assert.equal(await accountTabs(bobs), "Profile Privacy Sessions E-mail Security Accounts");
});

/** The tabs of the account dialog. */
async function accountTabs(page: Page): Promise<string> {
  const dialog = await openAccount(page, "Profile");
  const names = await dialog.getByRole("tab").allTextContents();
  await closeDialog(page);
  return names.join(" ");
}

/** The response of the server to a call whose proof is too old. */
function proofRequired() {
  const info = create(ErrorInfoSchema, { reason: "STEP_UP_REQUIRED", domain: "trellis" });
  const detail = toBinary(AnySchema, anyPack(ErrorInfoSchema, info));
  // google.rpc.Status: the code, and one detail of less than 128 bytes.
  const details = Buffer.from([0x08, 16, 0x1a, detail.length, ...detail]).toString("base64");
  const headers = { "content-type": "application/grpc-web+proto", "grpc-status": "16", "grpc-status-details-bin": details };
  return { status: 200, headers, body: "" };
}
