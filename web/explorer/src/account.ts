// Whose token the operations carry: that of the session which the console shares, or one that is pasted.

import { type auth, createTrellis, reasonOf } from "../../client/src/index.js";
import { h, newId } from "../../console/src/dom.js";
import { explain } from "../../console/src/explain.js";

export class Account {
  readonly element = h("details", { class: "account" });
  readonly #session = createTrellis({ baseUrl: location.origin }).session;
  readonly #summary = h("summary", {});
  readonly #pasted = h("input", { type: "password", id: newId("token"), autocomplete: "off", placeholder: "eyJ…", on: { input: () => this.#show() } });
  readonly #signIn = this.#form();
  readonly #hasSessions: boolean;
  readonly #signOut = h(
    "div",
    {},
    h("p", {}, "Operations carry the token of your session, which the console shares."),
    h("button", { type: "button", class: "small", on: { click: () => void this.#session.signOut().catch(() => undefined) } }, "Sign out"),
  );

  /** `hasSessions`: the gateway serves the accounts of Trellis. */
  constructor(hasSessions: boolean) {
    this.#hasSessions = hasSessions;
    const pasted = h(
      "div",
      {},
      h("label", { for: this.#pasted.id }, "Another access token"),
      this.#pasted,
      h("p", { class: "soft" }, "It is used instead of the session, and forgotten with the page."),
    );
    this.element.append(this.#summary, h("div", { class: "inner" }, hasSessions && this.#signIn, hasSessions && this.#signOut, pasted));
    this.#session.onChange(() => this.#show());
    this.#show();
    if (hasSessions) void this.#session.restore();
  }

  /** The value of the header `authorization`. */
  async authorization(): Promise<string | undefined> {
    const pasted = this.#pasted.value.trim();
    if (pasted !== "") return /\s/.test(pasted) ? pasted : `Bearer ${pasted}`;
    return this.#session.state.kind === "signedIn" ? `Bearer ${await this.#session.accessToken()}` : undefined;
  }

  #show(): void {
    const isSignedIn = this.#session.state.kind === "signedIn";
    const who = isSignedIn ? "Signed in" : this.#hasSessions ? "Not signed in" : "Without a token";
    this.#summary.textContent = this.#pasted.value.trim() === "" ? who : "With the pasted token";
    this.#signIn.hidden = isSignedIn;
    this.#signOut.hidden = !isSignedIn;
  }

  #form(): HTMLFormElement {
    const input = (label: string, type: string, autocomplete: string): [HTMLElement, HTMLInputElement] => {
      const field = h("input", { id: newId(type), type, autocomplete, required: true });
      return [h("div", {}, h("label", { for: field.id }, label), field), field];
    };
    const [emailField, email] = input("E-mail address", "email", "username");
    const [passwordField, password] = input("Password", "password", "current-password");
    const [codeField, code] = input("Code of your authenticator app, or a recovery code", "text", "one-time-code");
    // Shown, and required, after the password of an account with a second factor.
    let challenge: auth.SignInChallenge | undefined;
    const ask = (next: auth.SignInChallenge | undefined) => {
      challenge = next;
      codeField.hidden = code.disabled = !next;
      if (next) code.focus();
    };
    ask(undefined);
    const problem = h("p", { class: "problem", role: "alert" });
    const other = h("p", { class: "soft" }, "No account? Run the mutation signUp first.");
    const button = h("button", { type: "submit", class: "small" }, "Sign in");
    const form = h("form", {}, emailField, passwordField, codeField, button, problem, other);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      problem.textContent = "";
      const signIn = async () => {
        if (challenge) await this.#session.completeSignIn(challenge, code.value);
        const next = challenge ? undefined : await this.#session.signIn(email.value, password.value);
        ask(next);
        if (next) return;
        password.value = code.value = "";
        this.element.open = false;
      };
      signIn().catch((error: unknown) => {
        if (reasonOf(error) === "CHALLENGE_INVALID") ask(undefined);
        problem.textContent = explain(error);
      });
    });
    return form;
  }
}
