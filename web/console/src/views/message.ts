// One row of a conversation.

import { h, present, setText } from "../dom.js";
import { explain } from "../explain.js";
import { exactTime, timeOfDay } from "../format.js";
import { icon } from "../icons.js";
import type { ItemView } from "../keyed-list.js";
import type { Chats } from "../model/chats.js";
import type { StoredMessage } from "../model/actions.js";
import type { DayRow, MessageRow, NoticeRow, Row } from "../model/rows.js";
import { avatar } from "./avatar.js";
import { type MenuItem, openMenu } from "./menu.js";

/** The actions on a message. */
export interface MessageActions {
  readonly edit: (message: StoredMessage) => void;
  readonly deleteMessage: (message: StoredMessage) => void;
}

export function rowView(chats: Chats, actions: MessageActions, first: Row): ItemView<Row> {
  if (first.kind === "unread") return unreadView();
  if (first.kind === "notice") return noticeView();
  return first.kind === "day" ? dayView() : messageView(chats, actions);
}

function unreadView(): ItemView<Row> {
  return { element: h("li", { class: "day unread-mark" }, h("span", {}, "New messages")), update: () => {} };
}

function noticeView(): ItemView<Row> {
  const element = h("li", { class: "notice-row", dir: "auto" });
  return { element, update: (row) => setText(element, (row as NoticeRow).text) };
}

function dayView(): ItemView<Row> {
  const heading = h("span", {});
  return {
    element: h("li", { class: "day" }, heading),
    update: (row) => setText(heading, (row as DayRow).heading),
  };
}

function messageView(chats: Chats, actions: MessageActions): ItemView<Row> {
  const element = h("li", {});
  let shown = "";
  const update = (row: Row) => {
    const message = row as MessageRow;
    if (message.messageNo > 0n) element.dataset["no"] = String(message.messageNo);
    // Rows are rendered again only when their appearance changes.
    const look = lookOf(message);
    if (look === shown) return;
    shown = look;
    const hadFocus = element.contains(document.activeElement);
    element.className = classOf(message);
    element.replaceChildren(...present(contentOf(chats, actions, message)));
    if (hadFocus) element.querySelector<HTMLElement>(".message-more")?.focus();
  };
  return { element, update };
}

function lookOf(row: MessageRow): string {
  const { author, text, erased, edited, state, startsGroup, endsGroup, time, stored, readers, canErase } = row;
  const parts = [author.name, text, erased, edited, state, startsGroup, endsGroup, time.getTime()];
  return JSON.stringify([...parts, stored?.etag, readers.length, canErase]);
}

function classOf({ mine, startsGroup, endsGroup, state, erased }: MessageRow): string {
  const classes = ["message", mine ? "mine" : "theirs", state];
  if (startsGroup) classes.push("starts-group");
  if (endsGroup) classes.push("ends-group");
  if (erased) classes.push("erased");
  return classes.join(" ");
}

function contentOf(chats: Chats, actions: MessageActions, row: MessageRow): (HTMLElement | false)[] {
  const { mine, author, startsGroup, erased, text } = row;
  const name = h("p", { class: mine ? "visually-hidden" : "author" }, mine ? "You" : author.name);
  const bubble = h("p", { class: "bubble", dir: "auto" }, erased ? "Message deleted" : text);
  const line = h("div", { class: "message-line" }, bubble, moreOf(actions, row));
  const body = h("div", { class: "message-body" }, startsGroup && name, line, row.endsGroup && footOf(chats, row));
  const picture = h("span", { class: "message-picture" }, startsGroup && avatar(author.id, author.name));
  return [!mine && picture, body];
}

/** The button that opens the menu of actions. */
function moreOf(actions: MessageActions, row: MessageRow): HTMLElement | false {
  const { stored, text, erased, canEdit, canErase } = row;
  if (!stored || erased) return false;
  const items: MenuItem[] = [{ label: "Copy text", act: () => void navigator.clipboard.writeText(text) }];
  if (canEdit) items.unshift({ label: "Edit", act: () => actions.edit(stored) });
  if (canErase) items.push({ label: "Delete…", danger: true, act: () => actions.deleteMessage(stored) });
  const look = { class: "message-more", type: "button", "aria-label": "Message actions", "aria-haspopup": "menu" };
  // The whole list has one tab stop, on the newest message; the arrow keys move from there.
  const button = h("button", { ...look, tabindex: "-1", on: { click: () => openMenu(button, items) } }, icon("more"));
  return button;
}

function footOf(chats: Chats, row: MessageRow): HTMLElement {
  if (row.state === "failed") return failureOf(chats, row);
  const time = h("time", { datetime: row.time.toISOString(), title: exactTime(row.time) }, timeOfDay(row.time));
  return h("p", { class: "foot" }, time, row.edited && h("span", {}, "Edited"), row.mine && !row.erased && stateOf(chats, row));
}

function stateOf(chats: Chats, { state, readers, stored, group }: MessageRow): HTMLElement {
  if (state === "sending" || !stored) return h("span", { class: "state" }, icon("clock"), "Sending…");
  if (readers.length === 0) return h("span", { class: "state" }, icon("check"), "Sent");
  const names = readers.slice(0, 20).map((id) => chats.people.get(id).name);
  const words = group ? `Read by ${readers.length}` : "Read";
  return h("span", { class: "state read", title: names.join(", ") }, icon("both"), words);
}

function failureOf(chats: Chats, { error, clientMessageId }: MessageRow): HTMLElement {
  const retry = () => chats.outbox.retry(clientMessageId);
  const drop = () => chats.outbox.drop(clientMessageId);
  return h(
    "div",
    { class: "foot failure" },
    h("p", { class: "state" }, icon("warning"), `Not sent. ${explain(error)}`),
    h("button", { class: "link", type: "button", on: { click: retry } }, "Try again"),
    h("button", { class: "link", type: "button", on: { click: drop } }, "Delete"),
  );
}
