// The mailbox of a server without an SMTP server, for developers: the newest e-mails, which it keeps instead of sending them.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import type { auth, Trellis } from "../../../client/src/index.js";
import { h } from "../dom.js";
import { exactTime } from "../format.js";
import { loaded } from "./loaded.js";
import { brand } from "./sign-in.js";

export function mailboxPage(publicAuth: Trellis["publicAuth"], key: string, leave: () => void): HTMLElement {
  const close = h("button", { class: "button small", type: "button", on: { click: leave } }, "Leave");
  if (key === "") {
    const text = "The address of the mailbox ends with a key, which is missing here. The server prints the whole address on its terminal when it starts, in the line that begins with “mailbox”. Open that address.";
    return mailboxCard(h("p", { class: "problem", role: "alert" }, text), close);
  }
  const content = h("div", { class: "mailbox" });
  const read = async () => (await publicAuth.listMailbox({ key })).mails;
  const load = () => content.replaceChildren(loaded("the mailbox", read, mailList));
  load();
  const reload = h("button", { class: "button small", type: "button", on: { click: load } }, "Reload");
  const text = "This server sends no e-mail. It keeps the newest ones here, so that you can try all links.";
  const head = h("p", { class: "dialog-text" }, text);
  return mailboxCard(head, reload, content, close);
}

function mailboxCard(...content: HTMLElement[]): HTMLElement {
  return h("main", { class: "welcome" }, brand(), h("section", { class: "card mails" }, h("h1", {}, "Mailbox"), ...content));
}

function mailList(mails: readonly auth.Mail[]): HTMLElement {
  if (mails.length === 0) return h("p", { class: "dialog-text", role: "status" }, "There is no e-mail yet.");
  return h("ul", { class: "mail-list", "aria-label": "E-mails" }, ...mails.map(mailItem));
}

function mailItem({ subject, recipient, text, createTime }: auth.Mail): HTMLElement {
  const at = createTime && timestampDate(createTime);
  const when = at && h("time", { datetime: at.toISOString() }, exactTime(at));
  const lines = text.trim().split("\n").flatMap((line) => [lineOf(line), "\n"]);
  return h("li", { class: "mail" }, h("h2", {}, subject), h("small", {}, `To ${recipient}`, when && " · ", when), h("p", { class: "mail-text" }, ...lines));
}

/** A line that is a link to this page is one here too. */
function lineOf(line: string): Node | string {
  return line.startsWith(`${window.location.origin}/#/`) ? h("a", { href: line }, line) : line;
}
