// The pages that links in e-mails open. Opening one changes nothing, because programs that scan e-mails open links too: the
// user presses a button.

import type { Trellis } from "../../../client/src/index.js";
import { h } from "../dom.js";
import type { OpenedLink } from "../route.js";
import { form } from "./form.js";
import { mailboxPage } from "./mailbox.js";
import { alternative, brand, passwordField, requestReset } from "./sign-in.js";

/** `leave` closes the page of the link. */
export function linkPage({ publicAuth }: Trellis, { page, token }: OpenedLink, leave: () => void): HTMLElement {
  if (page === "mailbox") return mailboxPage(publicAuth, token, leave);
  const card = new Card(leave);
  switch (page) {
    case "reset-password":
      resetPassword(publicAuth, token, card);
      break;
    case "verify-email":
      verifyEmail(publicAuth, token, card);
      break;
    case "confirm-email":
      confirmEmail(publicAuth, token, card);
      break;
    case "undo-email-change":
      undoEmailChange(publicAuth, token, card);
      break;
  }
  return h("main", { class: "welcome" }, brand(), card.element);
}

type Auth = Trellis["publicAuth"];

function resetPassword(auth: Auth, token: string, card: Card): void {
  const password = passwordField({ name: "new_password", label: "New password", autocomplete: "new-password" });
  const submit = async () => {
    await auth.resetPassword({ token, newPassword: password.value });
    card.end("Your password is changed", "You are signed out on all devices. Sign in with the new password.");
  };
  const askAgain = () => card.replace(...requestReset(auth, card.leave));
  const again = alternative("Was the link used before, or is it too old?", "Ask for a new one", askAgain);
  card.show("Set a new password", form({ fields: [password], button: "Set password", submit }), again, release(auth, token, card));
}

function verifyEmail(auth: Auth, token: string, card: Card): void {
  const submit = async () => {
    await auth.verifyEmail({ token });
    card.end("Your address is verified", "You can use it to set a new password, and get notices about your account.");
  };
  const text = "You created an account with this e-mail address? Then verify that it is yours.";
  card.show("Verify your e-mail address", paragraph(text), form({ fields: [], button: "Verify this address", submit }), release(auth, token, card));
}

function confirmEmail(auth: Auth, token: string, card: Card): void {
  const submit = async () => {
    await auth.confirmEmailChange({ token });
    card.end("Your address is changed", "From now on, sign in with the new e-mail address.");
  };
  const text = "This address becomes the address of your account. You sign in with it from then on.";
  card.show("Confirm your new address", paragraph(text), form({ fields: [], button: "Confirm this address", submit }));
}

function undoEmailChange(auth: Auth, token: string, card: Card): void {
  const submit = async () => {
    await auth.undoEmailChange({ token });
    card.end("Your address is restored", "All devices are signed out, and the password is deleted. You get an e-mail with a link to set a new one.");
  };
  const text = "Your account gets this address back. All devices are signed out, and the password is deleted, because another person may know it.";
  card.show("Undo the change of your address", paragraph(text), form({ fields: [], button: "Undo the change", submit }));
}

/** The way out for the owner of an address with which another person has created an account. */
function release(auth: Auth, token: string, card: Card): HTMLElement {
  const submit = async () => {
    await auth.releaseEmail({ token });
    card.end("Your address is free", "The account no longer has it. You can create your own account with it.");
  };
  const summary = h("summary", {}, "I did not create this account");
  const text = "The account loses your address, unless it was verified. You can then create an account of your own.";
  return h("details", { class: "more" }, summary, paragraph(text), form({ fields: [], button: "Free my address", submit, danger: true }));
}

function paragraph(text: string): HTMLElement {
  return h("p", { class: "dialog-text" }, text);
}

/** The card of a link: what it does, and then the result. */
class Card {
  readonly element = h("section", { class: "card" });
  readonly leave: () => void;

  constructor(leave: () => void) {
    this.leave = leave;
  }

  /** Shows a form of another page. */
  replace(...content: HTMLElement[]): void {
    this.element.replaceChildren(...content);
    this.element.querySelector("input")?.focus();
  }

  show(title: string, ...content: HTMLElement[]): void {
    const button = h("button", { class: "link", type: "button", on: { click: this.leave } }, "Leave this page");
    this.element.replaceChildren(h("h1", {}, title), ...content, h("p", { class: "alternative" }, button));
  }

  end(title: string, text: string): void {
    const button = h("button", { class: "button wide primary", type: "button", on: { click: this.leave } }, "Continue");
    this.element.replaceChildren(h("h1", {}, title), h("p", { role: "status" }, text), button);
    button.focus();
  }
}
