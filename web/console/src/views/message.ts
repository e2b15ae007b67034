// One row of a conversation.

import { h, present, setText } from "../dom.js";
import { explain } from "../explain.js";
import { exactTime, timeOfDay } from "../format.js";
import { icon } from "../icons.js";
import type { ItemView } from "../keyed-list.js";
import type { Chats } from "../model/chats.js";
import type { DayRow, MessageRow, Row } from "../model/rows.js";
import { avatar } from "./avatar.js";

export function rowView(chats: Chats, first: Row): ItemView<Row> {
  return first.kind === "day" ? dayView() : messageView(chats);
}

function dayView(): ItemView<Row> {
  const heading = h("span", {});
  return {
    element: h("li", { class: "day" }, heading),
    update: (row) => setText(heading, (row as DayRow).heading),
  };
}

function messageView(chats: Chats): ItemView<Row> {
  const element = h("li", {});
  let shown = "";
  const update = (row: Row) => {
    const message = row as MessageRow;
    const { author, state, startsGroup, endsGroup } = message;
    // Rows are drawn again only when they look different.
    const look = [author.name, state, startsGroup, endsGroup, message.time.getTime()].join("|");
    if (look === shown) return;
    shown = look;
    element.className = classOf(message);
    element.replaceChildren(...present(contentOf(chats, message)));
  };
  return { element, update };
}

function classOf({ mine, startsGroup, endsGroup, state }: MessageRow): string {
  const classes = ["message", mine ? "mine" : "theirs", state];
  if (startsGroup) classes.push("starts-group");
  if (endsGroup) classes.push("ends-group");
  return classes.join(" ");
}

function contentOf(chats: Chats, row: MessageRow): (HTMLElement | undefined)[] {
  const { mine, author, startsGroup, text } = row;
  const name = startsGroup ? h("p", { class: mine ? "visually-hidden" : "author" }, mine ? "You" : author.name) : undefined;
  const said = row.erased ? h("em", {}, "Message deleted") : text;
  const bubble = h("p", { class: "bubble", dir: "auto" }, said);
  const body = h("div", { class: "message-body" }, name, bubble, row.endsGroup && footOf(chats, row));
  const picture = h("span", { class: "message-picture" }, startsGroup && avatar(author.id, author.name));
  return [mine ? undefined : picture, body];
}

function footOf(chats: Chats, row: MessageRow): HTMLElement {
  if (row.state === "failed") return failureOf(chats, row);
  const time = h("time", { datetime: row.time.toISOString(), title: exactTime(row.time) }, timeOfDay(row.time));
  return h("p", { class: "foot" }, time, row.edited && h("span", {}, "Edited"), row.mine && stateOf(row));
}

function stateOf({ state }: MessageRow): HTMLElement {
  const words = state === "sending" ? "Sending…" : "Sent";
  return h("span", { class: "state" }, icon(state === "sending" ? "clock" : "check"), words);
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
