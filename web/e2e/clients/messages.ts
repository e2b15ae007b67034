// Converts the SDK's generated types to those of the scenario, for the clients that use them.

import type { Entry, SubscribeResponse } from "../../client/src/gen/trellis/messaging/v1/messaging_pb.js";
import type { Event, ChatMessage } from "./scenario.js";

export function chatMessageOf(entry: Entry | undefined): ChatMessage {
  if (entry?.body.case !== "message") throw new Error("no message came");
  return { seq: Number(entry.seq), text: entry.body.value.text };
}

/** The messages of a history, which has other entries too. */
export function chatMessagesOf(entries: readonly Entry[]): ChatMessage[] {
  return entries.filter(({ body }) => body.case === "message").map(chatMessageOf);
}

export function eventOf({ event }: SubscribeResponse): Event {
  if (event.case === "caughtUp") return { kind: "caughtUp" };
  if (event.case === "entry") return { kind: "message", message: chatMessageOf(event.value.entry) };
  return { kind: "other" };
}
