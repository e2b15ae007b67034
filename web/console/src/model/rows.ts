// The rows of one conversation, from top to bottom: days, messages, changes of the conversation, and unsent messages.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import type { messaging, Outgoing } from "../../../client/src/index.js";
import { dayHeading, dayKey, isolate } from "../format.js";
import type { Chats } from "./chats.js";
import type { StoredMessage } from "./actions.js";
import type { Person } from "./people.js";
import type { Thread } from "./thread.js";

export interface DayRow {
  readonly kind: "day";
  readonly key: string;
  readonly heading: string;
}

export interface MessageRow {
  readonly kind: "message";
  readonly key: string;
  readonly author: Person;
  readonly mine: boolean;
  /** The text. Empty when the message is deleted. */
  readonly text: string;
  readonly erased: boolean;
  readonly edited: boolean;
  readonly time: Date;
  /** The first of a group by one author. It shows the name. */
  startsGroup: boolean;
  /** The last of a group by one author. It shows the time. */
  endsGroup: boolean;
  readonly state: "sending" | "sent" | "failed";
  readonly error?: unknown;
  readonly clientMessageId: string;
  /** The number in the conversation; 0 while it is not sent. */
  readonly messageNo: bigint;
  /** The stored message; undefined while it is not sent. */
  readonly stored?: StoredMessage;
  /** The other members who have read it. Only for the user's own messages. */
  readonly readers: readonly string[];
  /** Whether the conversation has more than two members. */
  readonly group: boolean;
  readonly canEdit: boolean;
  readonly canErase: boolean;
}

/** A change of the members or of the title. */
export interface NoticeRow {
  readonly kind: "notice";
  readonly key: string;
  readonly text: string;
  readonly time: Date;
}

/** The mark before the first message that was unread when the conversation was opened. */
export interface UnreadRow {
  readonly kind: "unread";
  readonly key: string;
}

export type Row = DayRow | MessageRow | NoticeRow | UnreadRow;
type TimedRow = MessageRow | NoticeRow;

/** Messages by one author within this time form a group. */
const GROUP_MS = 5 * 60_000;

/** `firstUnread` is the number of the message after the unread mark, if there is one. */
export function rowsOf(chats: Chats, thread: Thread, now: Date, firstUnread?: bigint): Row[] {
  const stored = thread.timeline.entries.map((entry) => storedRow(chats, thread, entry)).filter((row) => row !== undefined);
  const shown = new Set(stored.map(({ key }) => key));
  const outgoing = chats.outbox.of(thread.id).map((message) => outgoingRow(chats, message));
  return withUnread(withDays(group([...stored, ...outgoing.filter(({ key }) => !shown.has(key))]), now), firstUnread);
}

function withUnread(rows: Row[], firstUnread: bigint | undefined): Row[] {
  const at = rows.findIndex((row) => row.kind === "message" && firstUnread !== undefined && row.messageNo >= firstUnread);
  return at < 0 ? rows : [...rows.slice(0, at), { kind: "unread", key: "unread" }, ...rows.slice(at)];
}

function storedRow(chats: Chats, thread: Thread, entry: messaging.Entry): TimedRow | undefined {
  if (entry.body.case !== "message") return noticeRow(chats, entry);
  const { clientMessageId, messageId, messageNo, text, etag, deleteTime, editTime } = entry.body.value;
  const mine = entry.authorId === chats.userId;
  const erased = deleteTime !== undefined;
  return {
    kind: "message",
    // The user's own message keeps its element when the server has stored it.
    key: mine ? `mine ${clientMessageId}` : `seq ${entry.seq}`,
    author: chats.people.get(entry.authorId),
    mine,
    text,
    erased,
    edited: editTime !== undefined && !erased,
    time: timeOf(entry),
    startsGroup: true,
    endsGroup: true,
    state: "sent",
    clientMessageId,
    messageNo,
    stored: { messageId, text, etag },
    readers: mine ? thread.readersOf(messageNo) : [],
    group: thread.memberCount > 2,
    canEdit: mine && !erased,
    // The server lets an owner delete other members' messages. In a direct conversation that would be unexpected.
    canErase: !erased && (mine || (thread.isOwn && !thread.isDirect)),
  };
}

function noticeRow(chats: Chats, entry: messaging.Entry): NoticeRow | undefined {
  const text = noticeOf(chats, entry);
  return text === undefined ? undefined : { kind: "notice", key: `seq ${entry.seq}`, text, time: timeOf(entry) };
}

/** The text of an entry that changes the members or the title. */
function noticeOf(chats: Chats, { authorId, body }: messaging.Entry): string | undefined {
  const nameOf = (id: string) => isolate(chats.people.get(id).name);
  const author = authorId === chats.userId ? "You" : nameOf(authorId);
  const objectOf = (id: string) => (id === chats.userId ? "you" : nameOf(id));
  if (body.case === "memberAdded") {
    const { userId } = body.value;
    return userId === authorId ? `${author} joined` : `${author} added ${objectOf(userId)}`;
  }
  if (body.case === "memberRemoved") {
    const { userId } = body.value;
    return userId === authorId ? `${author} left` : `${author} removed ${objectOf(userId)}`;
  }
  if (body.case !== "conversationUpdated" || !body.value.titleChanged) return undefined;
  const { title } = body.value;
  return title ? `${author} named the conversation ${isolate(title)}` : `${author} removed the name of the conversation`;
}

function timeOf({ createTime }: messaging.Entry): Date {
  return createTime ? timestampDate(createTime) : new Date(0);
}

function outgoingRow(chats: Chats, message: Outgoing): MessageRow {
  return {
    kind: "message",
    key: `mine ${message.clientMessageId}`,
    author: chats.people.get(chats.userId),
    mine: true,
    text: message.text,
    erased: false,
    edited: false,
    time: new Date(message.writtenAtMs),
    startsGroup: true,
    endsGroup: true,
    state: message.state === "failed" ? "failed" : "sending",
    error: message.error,
    clientMessageId: message.clientMessageId,
    messageNo: 0n,
    readers: [],
    group: false,
    canEdit: false,
    canErase: false,
  };
}

function group(rows: TimedRow[]): TimedRow[] {
  rows.forEach((row, i) => {
    const previous = rows[i - 1];
    if (previous?.kind !== "message" || row.kind !== "message" || !together(previous, row)) return;
    row.startsGroup = false;
    // States other than "sent" are always shown.
    previous.endsGroup = previous.state !== row.state || previous.edited;
  });
  return rows;
}

function together(a: MessageRow, b: MessageRow): boolean {
  const near = b.time.getTime() - a.time.getTime() < GROUP_MS;
  return a.author.id === b.author.id && near && dayKey(a.time) === dayKey(b.time);
}

function withDays(rows: TimedRow[], now: Date): Row[] {
  let day = "";
  return rows.flatMap((row) => {
    if (dayKey(row.time) === day) return [row];
    day = dayKey(row.time);
    return [{ kind: "day", key: `day ${day}`, heading: dayHeading(row.time, now) } as const, row];
  });
}
