// One conversation as the page has it.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import { type messaging, Timeline } from "../../../client/src/index.js";

/** How far back the messages have been read. */
export type History = "unread" | "loading" | "more" | "complete" | "failed";

export class Thread {
  readonly id: string;
  readonly createTime: Date;
  readonly timeline = new Timeline();
  readonly title: string;
  readonly memberIds: readonly string[];
  history: History = "unread";
  /** Where the next older page begins. */
  pageToken = "";
  /** Messages of others since the user looked last. */
  unread = 0;

  constructor({ conversationId, createTime, title, memberIds }: messaging.Conversation) {
    this.id = conversationId;
    this.createTime = createTime ? timestampDate(createTime) : new Date(0);
    this.title = title;
    this.memberIds = memberIds;
  }

  /** When something happened last. */
  get activeTime(): Date {
    const time = this.timeline.newest?.createTime;
    return time ? timestampDate(time) : this.createTime;
  }

  get newestMessage(): messaging.Entry | undefined {
    return this.timeline.entries.findLast(({ body }) => body.case === "message");
  }

  /** Everybody but `userId`. */
  others(userId: string): string[] {
    return this.memberIds.filter((id) => id !== userId);
  }

  forget(): void {
    this.timeline.clear();
    this.history = "unread";
    this.pageToken = "";
  }
}
