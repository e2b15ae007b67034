// The page of somebody who is not signed in.

import type { Session } from "../../../client/src/index.js";
import { h } from "../dom.js";
import { icon } from "../icons.js";
import { Field, type FieldOptions } from "./field.js";
import { form } from "./form.js";

export const HANDLE_HINT = "How others find you: small letters, digits and underscores.";
export const HANDLE_SHAPE = "Use 3 to 30 small letters, digits and underscores, with a letter first.";

/** `ended`: the page before was taken away, and says why. */
export function signInPage(session: Session, ended: boolean): HTMLElement {
  const card = h("section", { class: "card" });
  const show = (content: HTMLElement[]) => {
    card.replaceChildren(...content);
    card.querySelector("input")?.focus();
  };
  const showSignIn = () => show(signIn(session, showSignUp));
  const showSignUp = () => show(signUp(session, showSignIn));
  // The card must be on the page before something in it can have the focus.
  queueMicrotask(showSignIn);
  const note = h("p", { class: "notice", role: "status" }, "You were signed out, because your session has ended. Sign in again.");
  return h("main", { class: "welcome" }, brand(), ended && note, card);
}

export function brand(): HTMLElement {
  return h("p", { class: "brand" }, h("span", { class: "brand-mark" }, icon("lattice")), "Trellis");
}

function signIn(session: Session, other: () => void): HTMLElement[] {
  const email = new Field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", literal: true });
  const password = passwordField({ autocomplete: "current-password" });
  return [
    h("h1", {}, "Sign in"),
    form({
      fields: [email, password],
      button: "Sign in",
      submit: () => session.signIn(email.value.trim(), password.value),
    }),
    elsewhere("New here?", "Create an account", other),
  ];
}

function signUp(session: Session, other: () => void): HTMLElement[] {
  const email = new Field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", literal: true });
  const password = passwordField({ autocomplete: "new-password" });
  const displayName = new Field({ name: "display_name", label: "Your name", autocomplete: "name" });
  const handle = new Field({
    name: "handle",
    label: "Handle",
    literal: true,
    hint: HANDLE_HINT,
    shape: HANDLE_SHAPE,
  });
  return [
    h("h1", {}, "Create an account"),
    form({
      fields: [displayName, handle, email, password],
      button: "Create account",
      submit: () =>
        session.signUp({
          email: email.value.trim(),
          password: password.value,
          handle: handle.value.trim(),
          displayName: displayName.value.trim(),
        }),
    }),
    elsewhere("Have an account?", "Sign in", other),
  ];
}

type PasswordOptions = Partial<FieldOptions> & { readonly autocomplete: "current-password" | "new-password" };

/** A new one says what it must be like. */
export function passwordField(options: PasswordOptions): Field {
  const hint = options.autocomplete === "new-password" ? { hint: "At least 8 characters." } : {};
  return new Field({ name: "password", label: "Password", type: "password", ...hint, ...options });
}

function elsewhere(question: string, answer: string, go: () => void): HTMLElement {
  const button = h("button", { class: "link", type: "button", on: { click: go } }, answer);
  return h("p", { class: "elsewhere" }, question, " ", button);
}
