// One conversation as the page has it.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import { messaging, Timeline } from "../../../client/src/index.js";

/** How far back the messages have been read. */
export type History = "unread" | "loading" | "more" | "complete" | "failed";

export class Thread {
  readonly id: string;
  readonly createTime: Date;
  readonly timeline = new Timeline();
  title = "";
  /** How many members there are. */
  memberCount = 0;
  /** The members that the page knows, in the order in which they joined. */
  memberIds: readonly string[] = [];
  /** Where the next page of members begins; empty before the first. */
  membersToken = "";
  ownerId = "";
  /** A stranger has opened it, and the user has not accepted it yet. */
  isRequest = false;
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
  /** When the number of members was true, in nanoseconds: two changes may fall into one millisecond. */
  #countedAt = 0n;

  constructor(userId: string, conversation: messaging.Conversation) {
    this.#userId = userId;
    this.id = conversation.conversationId;
    this.createTime = dateOf(conversation.createTime);
    this.learn(conversation);
  }

  /** Takes what the server says of it, unless something newer is known. */
  learn(conversation: messaging.Conversation): void {
    const { title, memberCount, members, ownerId, etag, messageCount, membership, lastMessage } = conversation;
    const updateTime = dateOf(conversation.updateTime);
    if (updateTime >= this.#asOf) {
      this.#asOf = updateTime;
      this.title = title;
      this.memberCount = memberCount;
      this.#countedAt = nanosOf(conversation.updateTime);
      this.#learnFirst(members.map(({ userId }) => userId));
      this.ownerId = ownerId;
      this.etag = etag;
    }
    this.isRequest = membership?.state === messaging.MembershipState.REQUESTED;
    this.messageCount = max(this.messageCount, messageCount);
    this.acknowledge(membership?.lastReadMessageNo ?? 0n);
    this.#markMembers(members);
    if (lastMessage) this.timeline.add(lastMessage);
  }

  /** The first members are these; others are kept only while they can be all the others. */
  #learnFirst(ids: string[]): void {
    const known = new Set(this.memberIds);
    if (this.knowsAllMembers && ids.every((id) => known.has(id))) return;
    this.memberIds = ids;
    this.membersToken = "";
  }

  /** Takes a page of the members. */
  learnMembers(members: readonly messaging.Member[], nextPageToken: string): void {
    this.memberIds = [...new Set([...this.memberIds, ...members.map(({ userId }) => userId)])];
    this.membersToken = nextPageToken;
    // Who came or went between two pages is counted by what the last page tells.
    if (nextPageToken === "") this.memberCount = this.memberIds.length;
    this.#markMembers(members);
  }

  #markMembers(members: readonly messaging.Member[]): void {
    for (const { userId, lastReadMessageNo } of members) this.#mark(userId, lastReadMessageNo);
  }

  /** Takes an entry of its log. Whether it is new. */
  take(entry: messaging.Entry): boolean {
    if (!this.timeline.add(entry)) return false;
    this.#asOf = latest(this.#asOf, dateOf(entry.createTime));
    this.#follow(entry);
    return true;
  }

  /** What an entry changes of the conversation itself. */
  #follow({ body, authorId, createTime }: messaging.Entry): void {
    if (body.case === "message") {
      const { messageNo } = body.value;
      this.messageCount = max(this.messageCount, messageNo);
      // A reply accepts a request.
      if (authorId === this.#userId) this.isRequest = false;
      // Who has read everything has read their own message too, says the server.
      if (authorId === this.#userId && this.readNo === messageNo - 1n) this.acknowledge(messageNo);
    } else if (body.case === "memberAdded") {
      if (this.knowsAllMembers) this.memberIds = [...new Set([...this.memberIds, body.value.userId])];
      this.#count(1, createTime);
    } else if (body.case === "memberRemoved") {
      const { userId, ownerId } = body.value;
      this.memberIds = this.memberIds.filter((id) => id !== userId);
      this.ownerId = ownerId;
      this.#count(-1, createTime);
    } else if (body.case === "conversationUpdated") {
      this.title = body.value.title;
      this.etag = body.value.etag;
    }
  }

  /** Counts who came or went, unless the number that is known is newer. */
  #count(change: number, time: messaging.Entry["createTime"]): void {
    if (nanosOf(time) <= this.#countedAt) return;
    this.#countedAt = nanosOf(time);
    this.memberCount += change;
  }

  /** Takes how far people have read. */
  mark(marks: readonly messaging.ReadMark[]): void {
    for (const { userId, messageNo } of marks) this.#mark(userId, messageNo);
  }

  #mark(userId: string, messageNo: bigint): void {
    this.#marks.set(userId, max(this.#marks.get(userId) ?? 0n, messageNo));
    if (userId === this.#userId) this.acknowledge(messageNo);
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

  get knowsAllMembers(): boolean {
    return this.memberIds.length >= this.memberCount;
  }

  /** The members that the page knows, but the user. */
  get others(): string[] {
    return this.memberIds.filter((id) => id !== this.#userId);
  }

  /** A talk of two without a name of its own. */
  get isDirect(): boolean {
    return this.title === "" && this.memberCount === 2;
  }

  get isOwn(): boolean {
    return this.ownerId === this.#userId;
  }

  forget(): void {
    this.timeline.clear();
    this.#marks.clear();
    this.#asOf = new Date(0);
    this.#countedAt = 0n;
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

function nanosOf(time: messaging.Entry["createTime"]): bigint {
  return time ? time.seconds * 1_000_000_000n + BigInt(time.nanos) : 0n;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function latest(a: Date, b: Date): Date {
  return a > b ? a : b;
}
