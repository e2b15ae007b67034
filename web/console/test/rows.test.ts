import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";

import { messaging, type Outgoing } from "../../client/src/index.js";
import type { Chats } from "../src/model/chats.js";
import { type Row, rowsOf } from "../src/model/rows.js";
import { Thread } from "../src/model/thread.js";

const noon = new Date(2026, 5, 1, 12);

function minutesLater(minutes: number): Date {
  return new Date(noon.getTime() + minutes * 60_000);
}

function stored(seq: number, authorId: string, minutes: number): messaging.Entry {
  return create(messaging.EntrySchema, {
    seq: BigInt(seq),
    authorId,
    createTime: timestampFromDate(minutesLater(minutes)),
    body: { case: "message", value: { text: `text ${seq}`, clientMessageId: `id ${seq}`, messageNo: BigInt(seq - 1) } },
  });
}

function waiting(id: number, minutes: number, state: Outgoing["state"] = "waiting"): Outgoing {
  const writtenAtMs = minutesLater(minutes).getTime();
  return { clientMessageId: `id ${id}`, conversationId: "c", text: `text ${id}`, writtenAtMs, state };
}

/** Each row in short: the day, or the author, text, state and group marks. */
function rows(entries: messaging.Entry[], outgoing: Outgoing[] = [], firstUnread?: bigint): string[] {
  const thread = new Thread("me", create(messaging.ConversationSchema, { conversationId: "c" }));
  for (const entry of entries) thread.take(entry);
  const people = { get: (id: string) => ({ id, name: id, handle: id }) };
  const chats = { userId: "me", people, outbox: { of: () => outgoing } } as unknown as Chats;
  return rowsOf(chats, thread, noon, firstUnread).map(short);
}

function short(row: Row): string {
  if (row.kind === "day") return row.heading;
  if (row.kind === "unread") return "unread";
  if (row.kind === "notice") return row.text;
  const marks = [row.startsGroup && "name", row.endsGroup && "time"].filter(Boolean).join("+");
  return [row.author.id, row.text, row.state, marks].filter(Boolean).join(", ");
}

test("messages by one author within a short time form a group", () => {
  assert.deepEqual(rows([stored(2, "bob", 0), stored(3, "bob", 1), stored(4, "me", 2), stored(5, "bob", 3), stored(6, "bob", 30)]), [
    "Today",
    "bob, text 2, sent, name",
    "bob, text 3, sent, time",
    "me, text 4, sent, name+time",
    "bob, text 5, sent, name+time",
    "bob, text 6, sent, name+time",
  ]);
});

test("a new day has a heading and starts a group", () => {
  const beforeMidnight = 12 * 60 - 1;
  const shown = rows([stored(2, "bob", beforeMidnight), stored(3, "bob", beforeMidnight + 2)]);
  assert.equal(shown.length, 4);
  assert.equal(shown[0], "Today");
  assert.equal(shown[3], "bob, text 3, sent, name+time");
});

test("an unsent message is last until the feed has delivered it", () => {
  assert.deepEqual(rows([stored(2, "me", 0)], [waiting(2, 0), waiting(3, 1), waiting(4, 1, "failed")]), [
    "Today",
    "me, text 2, sent, name+time",
    "me, text 3, sending, time",
    "me, text 4, failed, time",
  ]);
});

test("the unread mark is before the first unread message", () => {
  assert.deepEqual(rows([stored(2, "bob", 0), stored(3, "bob", 10)], [], 2n), [
    "Today",
    "bob, text 2, sent, name+time",
    "unread",
    "bob, text 3, sent, name+time",
  ]);
});

function changed(seq: number, authorId: string, body: messaging.Entry["body"]): messaging.Entry {
  return create(messaging.EntrySchema, { seq: BigInt(seq), authorId, createTime: timestampFromDate(minutesLater(seq)), body });
}

function added(seq: number, authorId: string, userId: string): messaging.Entry {
  return changed(seq, authorId, { case: "memberAdded", value: create(messaging.MemberAddedSchema, { userId }) });
}

function removed(seq: number, authorId: string, userId: string): messaging.Entry {
  return changed(seq, authorId, { case: "memberRemoved", value: create(messaging.MemberRemovedSchema, { userId }) });
}

function updated(seq: number, authorId: string, title: string, titleChanged = true): messaging.Entry {
  const value = create(messaging.ConversationUpdatedSchema, { title, titleChanged });
  return changed(seq, authorId, { case: "conversationUpdated", value });
}

test("changes of the members and of the title are lines of the log", () => {
  const entries = [
    stored(2, "bob", 2),
    added(3, "ada", "cy"),
    added(4, "dee", "dee"),
    removed(5, "ada", "cy"),
    removed(6, "dee", "dee"),
    added(7, "ada", "me"),
    updated(8, "me", "Beans"),
    // Another rule for adding people is no change of the title.
    updated(9, "me", "Beans", false),
    updated(10, "ada", ""),
  ];
  assert.deepEqual(rows(entries), [
    "Today",
    "bob, text 2, sent, name+time",
    "ada added cy",
    "dee joined",
    "ada removed cy",
    "dee left",
    "ada added you",
    "You named the conversation Beans",
    "ada removed the name of the conversation",
  ]);
});

test("lines of the history are the same as those of the feed", () => {
  const thread = new Thread("me", create(messaging.ConversationSchema, { conversationId: "c", title: "Beans" }));
  // A page of ListMessages, newest first.
  const page = [updated(5, "bob", "Beans", false), updated(4, "bob", "Beans"), added(3, "ada", "cy"), stored(2, "bob", 2)];
  for (const entry of page) thread.timeline.add(entry);
  const people = { get: (id: string) => ({ id, name: id, handle: id }) };
  const chats = { userId: "me", people, outbox: { of: () => [] } } as unknown as Chats;
  assert.deepEqual(rowsOf(chats, thread, noon).map(short), [
    "Today",
    "bob, text 2, sent, name+time",
    "ada added cy",
    "bob named the conversation Beans",
  ]);
});

test("a line between two messages ends a group", () => {
  assert.deepEqual(rows([stored(2, "bob", 2), added(3, "ada", "cy"), stored(4, "bob", 4)]), [
    "Today",
    "bob, text 2, sent, name+time",
    "ada added cy",
    "bob, text 4, sent, name+time",
  ]);
});
