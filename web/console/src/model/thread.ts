// The page's state of one conversation.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import { messaging, Timeline } from "../../../client/src/index.js";

/** The state of reading older messages. */
export type History = "unread" | "loading" | "more" | "complete" | "failed";

export class Thread {
  readonly id: string;
  readonly createTime: Date;
  readonly timeline = new Timeline();
  title = "";
  /** The number of members. */
  memberCount = 0;
  /** The loaded members, in the order in which they joined. */
  memberIds: readonly string[] = [];
  /** The token of the next page of members; empty before the first. */
  membersToken = "";
  ownerId = "";
  /** Whether the conversation is a request that the user has not accepted. */
  isRequest = false;
  etag = "";
  /** The members who may add others. */
  addPolicy = messaging.AddPolicy.ALL_MEMBERS;
  history: History = "unread";
  /** The token of the next older page. */
  pageToken = "";
  /** The number of messages, which is the number of the newest one. */
  messageCount = 0n;
  /** The number of the last message that the user has read. */
  readNo = 0n;
  /** Unread messages as the server counted them, adjusted by the entries since. */
  #unread = 0;
  /** The last read mark that the server has acknowledged. */
  acknowledgedNo = 0n;
  /** The read marks of the members; empty in large conversations. */
  readonly #marks = new Map<string, bigint>();
  readonly #userId: string;
  /** Changes that a page brought before the stream: not applied yet. */
  readonly #unapplied = new Set<bigint>();
  /** The server time of this state. */
  #asOf = new Date(0);
  /** The server time of the member count, in nanoseconds: two changes may have the same millisecond. */
  #countedAt = 0n;

  constructor(userId: string, conversation: messaging.Conversation) {
    this.#userId = userId;
    this.id = conversation.conversationId;
    this.createTime = dateOf(conversation.createTime);
    this.learn(conversation);
  }

  /** Applies the server's state, unless a newer one is known. */
  learn(conversation: messaging.Conversation): void {
    const { title, memberCount, members, ownerId, etag, addPolicy, messageCount, membership, lastMessage } = conversation;
    const updateTime = dateOf(conversation.updateTime);
    if (updateTime >= this.#asOf) {
      this.#asOf = updateTime;
      this.title = title;
      this.memberCount = memberCount;
      this.#countedAt = nanosOf(conversation.updateTime);
      this.#learnFirst(members.map(({ userId }) => userId));
      this.ownerId = ownerId;
      this.etag = etag;
      this.addPolicy = addPolicy;
    }
    this.isRequest = membership?.state === messaging.MembershipState.REQUESTED;
    this.messageCount = max(this.messageCount, messageCount);
    // Until the server has acknowledged the read mark, its count is too high.
    const lastReadMessageNo = membership?.lastReadMessageNo ?? 0n;
    if (lastReadMessageNo >= this.readNo) {
      this.acknowledge(lastReadMessageNo);
      this.#unread = Number(membership?.unreadCount ?? 0n);
    }
    this.#markMembers(members);
    if (lastMessage) this.timeline.add(lastMessage);
  }

  /** Replaces the first members. Keeps the others only while the number of members still matches. */
  #learnFirst(ids: string[]): void {
    const known = new Set(this.memberIds);
    if (this.knowsAllMembers && ids.every((id) => known.has(id))) return;
    this.memberIds = ids;
    this.membersToken = "";
  }

  /** Adds a page of members. */
  learnMembers(members: readonly messaging.Member[], nextPageToken: string): void {
    this.memberIds = [...new Set([...this.memberIds, ...members.map(({ userId }) => userId)])];
    this.membersToken = nextPageToken;
    // Members may have joined or left between two pages: after the last page, the loaded members are the count.
    if (nextPageToken === "") this.memberCount = this.memberIds.length;
    this.#markMembers(members);
  }

  #markMembers(members: readonly messaging.Member[]): void {
    for (const { userId, lastReadMessageNo } of members) this.#mark(userId, lastReadMessageNo);
  }

  /** Adds a page of the history. The stream may still bring its changes, or may have brought them. */
  addPage(entries: readonly messaging.Entry[]): void {
    for (const entry of entries) {
      if (!this.timeline.add(entry)) continue;
      if (entry.body.case === "message") this.#mark(entry.authorId, entry.body.value.messageNo);
      else this.#unapplied.add(entry.seq);
    }
  }

  /** Adds an entry of the log. Returns whether it is new. */
  take(entry: messaging.Entry): boolean {
    const isNew = this.timeline.add(entry);
    if (!isNew && !this.#unapplied.delete(entry.seq)) return false;
    this.#asOf = latest(this.#asOf, dateOf(entry.createTime));
    this.#follow(entry);
    return isNew;
  }

  /** Applies an entry to the conversation itself. */
  #follow({ seq, body, authorId, createTime }: messaging.Entry): void {
    if (body.case === "message") {
      const { messageNo } = body.value;
      this.messageCount = max(this.messageCount, messageNo);
      // A reply accepts a request.
      if (authorId === this.#userId) this.isRequest = false;
      // The server marks everything before a message as read by its author, without an event.
      this.#mark(authorId, messageNo);
      if (authorId !== this.#userId) this.#unread += 1;
    } else if (body.case === "messageDeleted") {
      if (body.value.messageNo > this.readNo) this.#unread = Math.max(0, this.#unread - 1);
    } else if (body.case === "memberAdded") {
      if (this.knowsAllMembers) this.memberIds = [...new Set([...this.memberIds, body.value.userId])];
      // Earlier messages count as read by a new member, without an event.
      this.#mark(body.value.userId, this.#lastMessageBefore(seq));
      this.#count(1, createTime);
    } else if (body.case === "memberRemoved") {
      const { userId, ownerId } = body.value;
      this.memberIds = this.memberIds.filter((id) => id !== userId);
      this.ownerId = ownerId;
      this.#count(-1, createTime);
    } else if (body.case === "conversationUpdated") {
      this.title = body.value.title;
      this.etag = body.value.etag;
      this.addPolicy = body.value.addPolicy;
    }
  }

  /** Adjusts the member count, unless the known count is newer. */
  #count(change: number, time: messaging.Entry["createTime"]): void {
    if (nanosOf(time) <= this.#countedAt) return;
    this.#countedAt = nanosOf(time);
    this.memberCount += change;
  }

  /** Applies read marks. */
  mark(marks: readonly messaging.ReadMark[]): void {
    for (const { userId, messageNo } of marks) this.#mark(userId, messageNo);
  }

  #mark(userId: string, messageNo: bigint): void {
    this.#marks.set(userId, max(this.#marks.get(userId) ?? 0n, messageNo));
    if (userId === this.#userId) this.acknowledge(messageNo);
  }

  /** The number of the last loaded message before an entry. */
  #lastMessageBefore(seq: bigint): bigint {
    const last = this.timeline.entries.findLast((entry) => entry.seq < seq && entry.body.case === "message");
    return last?.body.case === "message" ? last.body.value.messageNo : 0n;
  }

  /** Records the read mark that the server has acknowledged. */
  acknowledge(messageNo: bigint): void {
    this.see(messageNo);
    this.acknowledgedNo = max(this.acknowledgedNo, messageNo);
  }

  /** Marks the messages up to `messageNo` as seen. Returns whether the mark moved. */
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

  /** Whether older unread messages must be loaded, up to `most` in total. */
  reachesBeforeUnread(most: bigint): boolean {
    const known = BigInt(this.#messagesAfter(this.readNo).length);
    return this.history === "more" && known < this.messageCount - this.readNo && known < most;
  }

  #messagesAfter(messageNo: bigint): messaging.Entry[] {
    return this.timeline.entries.filter(({ body }) => body.case === "message" && body.value.messageNo > messageNo);
  }

  /** The other members who have read a message. */
  readersOf(messageNo: bigint): string[] {
    return this.others.filter((id) => (this.#marks.get(id) ?? 0n) >= messageNo);
  }

  /** The time of the last activity. */
  get activeTime(): Date {
    return latest(this.#asOf, this.createTime);
  }

  get newestMessage(): messaging.Entry | undefined {
    return this.timeline.entries.findLast(({ body }) => body.case === "message");
  }

  get knowsAllMembers(): boolean {
    return this.memberIds.length >= this.memberCount;
  }

  /** The loaded members without the user. */
  get others(): string[] {
    return this.memberIds.filter((id) => id !== this.#userId);
  }

  /** Whether this is an untitled conversation of two members. */
  get isDirect(): boolean {
    return this.title === "" && this.memberCount === 2;
  }

  /** Whether the user is the only member left, as far as the loaded entries show that there were others. */
  get isDeserted(): boolean {
    const { entries } = this.timeline;
    return this.memberCount === 1 && entries.some(({ authorId, body }) => authorId !== this.#userId || body.case === "memberRemoved");
  }

  get isOwn(): boolean {
    return this.ownerId === this.#userId;
  }

  /** Whether the user may add people. */
  get mayAdd(): boolean {
    return this.isOwn || this.addPolicy !== messaging.AddPolicy.OWNER_ONLY;
  }

  forget(): void {
    this.timeline.clear();
    this.#unapplied.clear();
    this.#marks.clear();
    this.#asOf = new Date(0);
    this.#countedAt = 0n;
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

function nanosOf(time: messaging.Entry["createTime"]): bigint {
  return time ? time.seconds * 1_000_000_000n + BigInt(time.nanos) : 0n;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function latest(a: Date, b: Date): Date {
  return a > b ? a : b;
}
