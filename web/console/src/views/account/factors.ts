// The second factor of the account: an authenticator app, and its recovery codes.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import type { auth } from "../../../../client/src/index.js";
import { h } from "../../dom.js";
import { exactTime } from "../../format.js";
import { form } from "../form.js";
import { loaded } from "../loaded.js";
import { checkingCode, codeField, passwordField } from "../sign-in.js";
import type { Account } from "./account-dialog.js";
import { proving } from "./proving.js";

const WHY = "With an authenticator app, a person who knows your password cannot sign in: each sign-in needs a code of the app too.";
const KEEP = "Keep these codes in a safe place. Each of them replaces the app once, for example when you lose your phone. They are shown only now.";

export function factorsSection({ trellis }: Account): HTMLElement {
  return new FactorsSection(trellis.auth).element;
}

class FactorsSection {
  readonly element = h("section", {});
  readonly #calls: Account["trellis"]["auth"];

  constructor(calls: Account["trellis"]["auth"]) {
    this.#calls = calls;
    this.#showState();
  }

  #show(...content: HTMLElement[]): void {
    this.element.replaceChildren(h("h3", {}, "Authenticator app"), ...content);
    if (this.element.isConnected) this.element.querySelector<HTMLElement>("input, [tabindex], button")?.focus();
  }

  #showState(): void {
    const read = () => this.#calls.listFactors({});
    this.#show(loaded("your authenticator app", read, ({ factors: [factor], recoveryCodeCount }) => this.#state(factor, recoveryCodeCount)));
  }

  #state(factor: auth.Factor | undefined, codes: number): HTMLElement {
    if (!factor) return h("div", { class: "form" }, text(WHY), this.#button("Add an authenticator app", () => this.#showBegin()));
    const since = factor.createTime ? ` since ${exactTime(timestampDate(factor.createTime))}` : "";
    const left = codes === 1 ? "1 recovery code is" : `${codes} recovery codes are`;
    const replace = this.#button("New recovery codes", () => this.#showReplace());
    const remove = this.#button("Remove the app", () => this.#showRemove(factor.factorId));
    return h("div", { class: "form" }, text(`Your authenticator app is on${since}. ${left} left.`), replace, remove);
  }

  #showBegin(): void {
    const password = ownPassword();
    const submit = async () => this.#showConfirm(await proving(password, () => this.#calls.beginTotp({ password: password.value })));
    this.#show(form({ fields: [password], button: "Continue", submit }), this.#cancel());
  }

  #showConfirm({ qrSvg, secret }: auth.BeginTotpResponse): void {
    const picture = h("img", { class: "qr", alt: "QR code for your authenticator app", src: `data:image/svg+xml,${encodeURIComponent(qrSvg)}` });
    const code = codeField({ hint: "The six digits that the app shows." });
    const submit = async () => {
      const { recoveryCodes } = await checkingCode(code, () => this.#calls.confirmTotp({ code: code.value }));
      this.#showCodes("Your authenticator app is on.", recoveryCodes);
    };
    const typed = h("p", { class: "dialog-text" }, "Or type this key: ", h("code", { class: "secret" }, secret.replace(/.{4}(?=.)/g, "$& ")));
    this.#show(text("Scan the picture with your authenticator app."), picture, typed, form({ fields: [code], button: "Turn on", submit }), this.#cancel());
  }

  #showReplace(): void {
    const [password, code] = [ownPassword(), codeField()];
    const submit = async () => {
      const request = { password: password.value, code: code.value };
      const { recoveryCodes } = await proving(password, () => checkingCode(code, () => this.#calls.regenerateRecoveryCodes(request)));
      this.#showCodes("Your earlier recovery codes no longer work.", recoveryCodes);
    };
    this.#show(form({ fields: [password, code], button: "Replace the codes", submit }), this.#cancel());
  }

  #showRemove(factorId: string): void {
    const [password, code] = [ownPassword(), codeField({ hint: "Of the app, or a recovery code." })];
    const submit = async () => {
      const request = { factorId, password: password.value, code: code.value };
      await proving(password, () => checkingCode(code, () => this.#calls.removeFactor(request)));
      this.#showState();
    };
    this.#show(text("From then on, your password is enough to sign in."), form({ fields: [password, code], button: "Remove it", submit, danger: true }), this.#cancel());
  }

  #showCodes(what: string, codes: readonly string[]): void {
    const list = h("ol", { class: "recovery-codes", "aria-label": "Recovery codes" }, ...codes.map((code) => h("li", {}, h("code", {}, code))));
    const file = `data:text/plain;charset=utf-8,${encodeURIComponent(`${codes.join("\n")}\n`)}`;
    const download = h("a", { class: "button wide", href: file, download: "recovery-codes.txt" }, "Download the codes");
    const success = h("p", { class: "success", role: "status", tabindex: "-1" }, what);
    this.#show(success, text(KEEP), list, download, this.#button("I have kept them", () => this.#showState()));
  }

  #button(label: string, click: () => void): HTMLElement {
    return h("button", { class: "button wide", type: "button", on: { click } }, label);
  }

  #cancel(): HTMLElement {
    return this.#button("Cancel", () => this.#showState());
  }
}

/** Not "Password", which the form below has. */
function ownPassword() {
  return passwordField({ name: "password", label: "Your password", autocomplete: "current-password" });
}

function text(content: string): HTMLElement {
  return h("p", { class: "dialog-text" }, content);
}
