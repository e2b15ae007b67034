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
  /** Unread messages as the server counted them, adjusted by the entries since. */
  #unread = 0;
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
    // While the user has seen more than the server knows, its count is too high.
    if (lastReadMessageNo >= this.readNo) {
      this.acknowledge(lastReadMessageNo);
      this.#unread = Number(conversation.unreadCount);
    }
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
      // The server marks everything before the user's own message as read, on all devices.
      if (authorId === this.#userId) this.acknowledge(messageNo);
      else this.#unread += 1;
    } else if (body.case === "messageDeleted") {
      if (body.value.messageNo > this.readNo) this.#unread = Math.max(0, this.#unread - 1);
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
    this.see(messageNo);
    this.acknowledgedNo = max(this.acknowledgedNo, messageNo);
  }

  /** The user has seen the messages up to `messageNo`. Whether that is news. */
  see(messageNo: bigint): boolean {
    if (messageNo <= this.readNo) return false;
    this.#unread = Math.max(0, this.#unread - Number(messageNo - this.readNo));
    this.readNo = messageNo;
    return true;
  }

  /**
   * Messages of others that the user has not seen and that are not erased. Counted where all of them are loaded; else
   * as the server counted them, plus what has changed since.
   */
  get unread(): number {
    const unread = this.messageCount - this.readNo;
    if (unread <= 0n) return 0;
    const known = this.#messagesAfter(this.readNo);
    if (BigInt(known.length) < unread) return this.#unread;
    return known.filter(({ authorId, body }) => authorId !== this.#userId && !isErased(body)).length;
  }

  /** Whether unread messages before the loaded ones are still to be loaded, up to `most` in all. */
  reachesBeforeUnread(most: bigint): boolean {
    const known = BigInt(this.#messagesAfter(this.readNo).length);
    return this.history === "more" && known < this.messageCount - this.readNo && known < most;
  }

  #messagesAfter(messageNo: bigint): messaging.Entry[] {
    return this.timeline.entries.filter(({ body }) => body.case === "message" && body.value.messageNo > messageNo);
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
    this.#unread = 0;
    this.readNo = 0n;
    this.acknowledgedNo = 0n;
    this.history = "unread";
    this.pageToken = "";
  }
}

function dateOf(time: messaging.Entry["createTime"]): Date {
  return time ? timestampDate(time) : new Date(0);
}

function isErased(body: messaging.Entry["body"]): boolean {
  return body.case === "message" && body.value.deleteTime !== undefined;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function latest(a: Date, b: Date): Date {
  return a > b ? a : b;
}
