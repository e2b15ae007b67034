// Tests the second factor: adding an authenticator app, signing in with its codes and with a recovery code, removing it.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import type { Page } from "playwright-core";

import { accessibilityProblems } from "./accessibility.js";
import { account, closeDialog, isConnected, isSignedOut, openAccount, signUp } from "./console.js";
import { artifact } from "./environment.js";
import { stage } from "./scenario.js";

const ada = account("Ada Lovelace");
const STEP_MS = 30_000;

const scenario = stage();

/** An authenticator app (RFC 6238): an implementation of its own. */
class App {
  readonly #key: Buffer;
  #last = 0;

  constructor(secret: string) {
    const bits = [...secret.replaceAll(" ", "")].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
    this.#key = Buffer.from(bits.match(/.{8}/g)!.map((byte) => Number.parseInt(byte, 2)));
  }

  /** A code that was not used before. The server accepts that of the next step too. */
  async code(): Promise<string> {
    const now = () => Math.floor(Date.now() / STEP_MS);
    this.#last = Math.max(this.#last + 1, now());
    while (now() + 1 < this.#last) await sleep(500);
    const step = Buffer.alloc(8);
    step.writeBigUInt64BE(BigInt(this.#last));
    const tag = createHmac("sha1", this.#key).update(step).digest();
    const number = tag.readUInt32BE(tag[19]! & 0xf) & 0x7fffffff;
    return String(number % 1_000_000).padStart(6, "0");
  }
}

async function enterPassword(page: Page): Promise<void> {
  await page.getByLabel("E-mail").fill(ada.email);
  await page.getByLabel("Password").fill(ada.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Enter your code" }).waitFor();
}

let app: App;
let recoveryCodes: string[];

scenario("sign-ins need the codes of an added authenticator app", async (arrive) => {
  const page = await (await arrive()).open();
  await signUp(page, ada);
  const security = await openAccount(page, "Security");
  await security.getByRole("button", { name: "Add an authenticator app" }).click();
  await security.getByLabel("Your password").fill("not my password");
  await security.getByRole("button", { name: "Continue" }).click();
  await security.getByText("This password is wrong.").waitFor();
  await security.getByLabel("Your password").fill(ada.password);
  await security.getByRole("button", { name: "Continue" }).click();
  const picture = security.getByRole("img", { name: "QR code for your authenticator app" });
  await picture.waitFor();
  assert.ok(await picture.evaluate((image: HTMLImageElement) => image.decode().then(() => image.naturalWidth > 200)), "the picture is shown");
  assert.deepEqual(await accessibilityProblems(page), []);
  await page.screenshot({ path: artifact("console-authenticator-app.png") });
  app = new App((await security.locator("code.secret").textContent()) ?? "");
  await security.getByLabel("Code").fill("12");
  await security.getByRole("button", { name: "Turn on" }).click();
  await security.getByText("This code is wrong").waitFor();
  await security.getByLabel("Code").fill(await app.code());
  await security.getByRole("button", { name: "Turn on" }).click();
  await security.getByText("Your authenticator app is on.").waitFor();
  recoveryCodes = await security.getByRole("list", { name: "Recovery codes" }).getByRole("listitem").allTextContents();
  assert.equal(recoveryCodes.length, 10);
  assert.deepEqual(await accessibilityProblems(page), []);
  const downloading = page.waitForEvent("download");
  await security.getByRole("link", { name: "Download the codes" }).click();
  const file = await (await downloading).path();
  assert.equal(readFileSync(file, "utf8"), `${recoveryCodes.join("\n")}\n`);
  await security.getByRole("button", { name: "I have kept them" }).click();
  await security.getByText("10 recovery codes are left.").waitFor();
  await closeDialog(page);

  const there = await (await arrive()).open();
  await enterPassword(there);
  assert.deepEqual(await accessibilityProblems(there), []);
  await there.screenshot({ path: artifact("console-enter-code.png") });
  await there.getByLabel("Code").fill("000000");
  await there.getByRole("button", { name: "Sign in" }).click();
  await there.getByText("This code is wrong").waitFor();
  await there.getByLabel("Code").fill(await app.code());
  await there.getByRole("button", { name: "Sign in" }).click();
  await isConnected(there);
  await isConnected(page);
});

scenario("a recovery code works once, and the app is removed", async (arrive) => {
  const page = await (await arrive({ colorScheme: "dark" })).open();
  await enterPassword(page);
  assert.deepEqual(await accessibilityProblems(page), []);
  const [code = ""] = recoveryCodes;
  await page.getByLabel("Code").fill(code.toUpperCase());
  await page.getByRole("button", { name: "Sign in" }).click();
  await isConnected(page);
  const security = await openAccount(page, "Security");
  await security.getByText("9 recovery codes are left.").waitFor();
  await security.getByRole("button", { name: "New recovery codes" }).click();
  await security.getByLabel("Your password").fill(ada.password);
  await security.getByLabel("Code").fill(code);
  await security.getByRole("button", { name: "Replace the codes" }).click();
  await security.getByText("This code is wrong, or was used before.").waitFor();
  await security.getByLabel("Code").fill(recoveryCodes[1] ?? "");
  await security.getByRole("button", { name: "Replace the codes" }).click();
  const list = security.getByRole("list", { name: "Recovery codes" }).getByRole("listitem");
  await list.first().waitFor();
  assert.deepEqual(await accessibilityProblems(page), []);
  const codes = await list.allTextContents();
  await security.getByRole("button", { name: "I have kept them" }).click();
  await security.getByText("10 recovery codes are left.").waitFor();
  assert.deepEqual(await accessibilityProblems(page), []);
  await security.getByRole("button", { name: "Remove the app" }).click();
  await security.getByLabel("Your password").fill(ada.password);
  await security.getByLabel("Code").fill(codes[0] ?? "");
  assert.deepEqual(await accessibilityProblems(page), []);
  await security.getByRole("button", { name: "Remove it" }).click();
  await security.getByRole("button", { name: "Add an authenticator app" }).waitFor();
  await closeDialog(page);
  const there = await (await arrive()).open();
  await isSignedOut(there);
  await there.getByLabel("E-mail").fill(ada.email);
  await there.getByLabel("Password").fill(ada.password);
  await there.getByRole("button", { name: "Sign in" }).click();
  await isConnected(there);
});
