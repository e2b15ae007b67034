// The pages that links in e-mails open. Opening one changes nothing, because programs that scan e-mails open links too: the
// user presses a button.

import type { Trellis } from "../../../client/src/index.js";
import { h } from "../dom.js";
import type { OpenedLink } from "../route.js";
import { form } from "./form.js";
import { mailboxPage } from "./mailbox.js";
import { brand, passwordField } from "./sign-in.js";

/** `leave` closes the page of the link. */
export function linkPage(trellis: Trellis, link: OpenedLink, leave: () => void): HTMLElement {
  switch (link.page) {
    case "mailbox":
      return mailboxPage(trellis, link.token, leave);
    case "reset-password":
      return resetPage(trellis, link.token, leave);
  }
}

function resetPage({ publicAuth }: Trellis, token: string, leave: () => void): HTMLElement {
  const password = passwordField({ name: "new_password", label: "New password", autocomplete: "new-password" });
  const submit = async () => {
    await publicAuth.resetPassword({ token, newPassword: password.value });
    card.replaceChildren(...done("Your password is changed", "You are signed out on all devices. Sign in with the new password.", leave));
  };
  const card = linkCard("Set a new password", form({ fields: [password], button: "Set password", submit }), leave);
  return page(card);
}

function page(card: HTMLElement): HTMLElement {
  return h("main", { class: "welcome" }, brand(), card);
}

function linkCard(title: string, content: HTMLElement, leave: () => void): HTMLElement {
  const button = h("button", { class: "link", type: "button", on: { click: leave } }, "Leave this page");
  return h("section", { class: "card" }, h("h1", {}, title), content, h("p", { class: "alternative" }, button));
}

function done(title: string, text: string, leave: () => void): HTMLElement[] {
  const button = h("button", { class: "button wide primary", type: "button", on: { click: leave } }, "Continue");
  return [h("h1", {}, title), h("p", { role: "status" }, text), button];
}
