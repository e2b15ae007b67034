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
  /** Which members may add others. */
  addPolicy = messaging.AddPolicy.ALL_MEMBERS;
  history: History = "unread";
  /** Where the next older page begins. */
  pageToken = "";
  /** The title by the entries of the log so far: an own change is learned before its entry arrives. */
  #loggedTitle: string | undefined;
  /** The entries that changed the title; entries of the same kind change other settings. */
  readonly #renames = new Set<bigint>();
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
    const { title, memberCount, members, ownerId, etag, addPolicy, messageCount, membership, lastMessage } = conversation;
    const updateTime = dateOf(conversation.updateTime);
    if (updateTime >= this.#asOf) {
      this.#asOf = updateTime;
      this.title = title;
      this.#loggedTitle ??= title;
      this.memberCount = memberCount;
      this.#countedAt = nanosOf(conversation.updateTime);
      this.#learnFirst(members.map(({ userId }) => userId));
      this.ownerId = ownerId;
      this.etag = etag;
      this.addPolicy = addPolicy;
    }
    this.isRequest = membership?.state === messaging.MembershipState.REQUESTED;
    this.messageCount = max(this.messageCount, messageCount);
    // While the user has seen more than the server knows, its count is too high.
    const lastReadMessageNo = membership?.lastReadMessageNo ?? 0n;
    if (lastReadMessageNo >= this.readNo) {
      this.acknowledge(lastReadMessageNo);
      this.#unread = Number(membership?.unreadCount ?? 0n);
    }
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
  #follow({ body, authorId, createTime, seq }: messaging.Entry): void {
    if (body.case === "message") {
      const { messageNo } = body.value;
      this.messageCount = max(this.messageCount, messageNo);
      // A reply accepts a request.
      if (authorId === this.#userId) this.isRequest = false;
      // The server marks everything before the user's own message as read, on all devices.
      if (authorId === this.#userId) this.acknowledge(messageNo);
      else this.#unread += 1;
    } else if (body.case === "messageDeleted") {
      if (body.value.messageNo > this.readNo) this.#unread = Math.max(0, this.#unread - 1);
    } else if (body.case === "memberAdded") {
      if (this.knowsAllMembers) this.memberIds = [...new Set([...this.memberIds, body.value.userId])];
      this.#count(1, createTime);
    } else if (body.case === "memberRemoved") {
      const { userId, ownerId } = body.value;
      this.memberIds = this.memberIds.filter((id) => id !== userId);
      this.ownerId = ownerId;
      this.#count(-1, createTime);
    } else if (body.case === "conversationUpdated") {
      if (body.value.title !== this.#loggedTitle) this.#renames.add(seq);
      this.#loggedTitle = body.value.title;
      this.title = body.value.title;
      this.etag = body.value.etag;
      this.addPolicy = body.value.addPolicy;
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

  /** Whether the entry `seq` changed the title. */
  isRename(seq: bigint): boolean {
    return this.#renames.has(seq);
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
    this.#renames.clear();
    this.#loggedTitle = undefined;
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
