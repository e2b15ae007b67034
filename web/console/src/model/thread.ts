// One conversation as the page has it.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import { type messaging, Timeline } from "../../../client/src/index.js";

/** How far back the messages have been read. */
export type History = "unread" | "loading" | "more" | "complete" | "failed";

export class Thread {
  readonly id: string;
  readonly createTime: Date;
  readonly timeline = new Timeline();
  title = "";
  memberIds: readonly string[] = [];
  ownerId = "";
  etag = "";
  history: History = "unread";
  /** Where the next older page begins. */
  pageToken = "";
  /** How many messages there are: the number of the newest. */
  messageCount = 0n;
  /** The last message that the user has read. */
  readNo = 0n;
  /** How far the server knows of that. */
  acknowledgedNo = 0n;
  /** How far everybody has read; empty where too many are in it. */
  readonly #marks = new Map<string, bigint>();
  readonly #userId: string;
  /** When what is known here was true. */
  #asOf = new Date(0);

  constructor(userId: string, conversation: messaging.Conversation) {
    this.#userId = userId;
    this.id = conversation.conversationId;
    this.createTime = dateOf(conversation.createTime);
    this.learn(conversation);
  }

  /** Takes what the server says of it, unless something newer is known. */
  learn(conversation: messaging.Conversation): void {
    const { title, memberIds, ownerId, etag, messageCount, lastReadMessageNo, readMarks, lastMessage } = conversation;
    const updateTime = dateOf(conversation.updateTime);
    if (updateTime >= this.#asOf) {
      this.#asOf = updateTime;
      this.title = title;
      this.memberIds = memberIds;
      this.ownerId = ownerId;
      this.etag = etag;
    }
    this.messageCount = max(this.messageCount, messageCount);
    this.acknowledge(lastReadMessageNo);
    this.mark(readMarks);
    if (lastMessage) this.timeline.add(lastMessage);
  }

  /** Takes an entry of its log. Whether it is new. */
  take(entry: messaging.Entry): boolean {
    if (!this.timeline.add(entry)) return false;
    this.#asOf = latest(this.#asOf, dateOf(entry.createTime));
    this.#follow(entry);
    return true;
  }

  /** What an entry changes of the conversation itself. */
  #follow({ body, authorId }: messaging.Entry): void {
    if (body.case === "message") {
      const { messageNo } = body.value;
      this.messageCount = max(this.messageCount, messageNo);
      // Who has read everything has read their own message too, says the server.
      if (authorId === this.#userId && this.readNo === messageNo - 1n) this.acknowledge(messageNo);
    } else if (body.case === "memberAdded") {
      this.memberIds = [...new Set([...this.memberIds, body.value.userId])];
    } else if (body.case === "memberRemoved") {
      const { userId, ownerId } = body.value;
      this.memberIds = this.memberIds.filter((id) => id !== userId);
      this.ownerId = ownerId;
    } else if (body.case === "conversationUpdated") {
      this.title = body.value.title;
      this.etag = body.value.etag;
    }
  }

  /** Takes how far people have read. */
  mark(marks: readonly messaging.ReadMark[]): void {
    for (const { userId, messageNo } of marks) {
      this.#marks.set(userId, max(this.#marks.get(userId) ?? 0n, messageNo));
      if (userId === this.#userId) this.acknowledge(messageNo);
    }
  }

  /** The server knows that the user has read so far. */
  acknowledge(messageNo: bigint): void {
    this.readNo = max(this.readNo, messageNo);
    this.acknowledgedNo = max(this.acknowledgedNo, messageNo);
  }

  /** Messages that the user has not looked at. */
  get unread(): number {
    return Number(max(0n, this.messageCount - this.readNo));
  }

  /** Who besides the user has read a message. */
  readersOf(messageNo: bigint): string[] {
    return this.others.filter((id) => (this.#marks.get(id) ?? 0n) >= messageNo);
  }

  /** When something happened last. */
  get activeTime(): Date {
    return latest(this.#asOf, this.createTime);
  }

  get newestMessage(): messaging.Entry | undefined {
    return this.timeline.entries.findLast(({ body }) => body.case === "message");
  }

  /** Everybody but the user. */
  get others(): string[] {
    return this.memberIds.filter((id) => id !== this.#userId);
  }

  /** A talk of two without a name of its own. */
  get isDirect(): boolean {
    return this.title === "" && this.memberIds.length === 2;
  }

  get isOwn(): boolean {
    return this.ownerId === this.#userId;
  }

  forget(): void {
    this.timeline.clear();
    this.#marks.clear();
    this.#asOf = new Date(0);
    this.messageCount = 0n;
    this.readNo = 0n;
    this.acknowledgedNo = 0n;
    this.history = "unread";
    this.pageToken = "";
  }
}

function dateOf(time: messaging.Entry["createTime"]): Date {
  return time ? timestampDate(time) : new Date(0);
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function latest(a: Date, b: Date): Date {
  return a > b ? a : b;
}
