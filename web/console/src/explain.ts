// Errors as sentences for people.

import { Code, ConnectError } from "@connectrpc/connect";

import { isTransient, OutboxFull, reasonOf, retryDelayOf, violationsOf } from "../../client/src/index.js";

const BY_REASON: Readonly<Record<string, string>> = {
  BAD_CREDENTIALS: "That e-mail address and password do not belong together.",
  EMAIL_TAKEN: "An account with this e-mail address exists already. Sign in instead?",
  HANDLE_TAKEN: "Somebody else has this handle. Choose another one.",
  ETAG_MISMATCH: "It was changed elsewhere meanwhile. Look at it again, then try once more.",
  MESSAGE_DELETED: "This message was deleted meanwhile.",
  MESSAGE_NOT_FOUND: "This message is no longer here.",
  NOT_OWNER: "Only the conversation's owner can do that.",
  SESSION_NOT_FOUND: "That session has ended already.",
  TOO_MANY_MEMBERS: "This conversation is full.",
  MEMBER_UNKNOWN: "One of these people is no longer here. Choose again.",
  CONVERSATION_NOT_FOUND: "This conversation does not exist, or you are not in it.",
  TOO_MANY_CONVERSATIONS: "You, or one of these people, are in too many conversations.",
};

/** What went wrong, in a sentence that says what to do where something can be done. */
export function explain(error: unknown): string {
  if (error instanceof OutboxFull) return "Too many messages are waiting to be sent. Wait for the connection.";
  const known = BY_REASON[reasonOf(error)];
  if (known) return known;
  const [violation] = violationsOf(error).values();
  if (violation) return sentence(violation);
  const { code, rawMessage } = ConnectError.from(error);
  if (code === Code.ResourceExhausted) return `That was too often. Try again ${inSeconds(retryDelayOf(error))}.`;
  if (isTransient(error)) return "The server cannot be reached just now. Try again in a moment.";
  if (code === Code.Internal) return "Something went wrong on the server. Try again in a moment.";
  return sentence(rawMessage);
}

/** The server's words with a capital and a full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const closed = /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
  return closed.charAt(0).toUpperCase() + closed.slice(1);
}

function inSeconds(ms: number | undefined): string {
  if (ms === undefined) return "in a moment";
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  return seconds < 90 ? `in ${seconds} s` : `in ${Math.ceil(seconds / 60)} minutes`;
}
