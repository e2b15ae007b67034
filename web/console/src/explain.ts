// Explains errors to the user: what happened and what to do next.

import { Code, ConnectError } from "@connectrpc/connect";

import { isTransient, OutboxFull, reasonOf, retryDelayOf, violationsOf } from "../../client/src/index.js";

const BY_REASON: Readonly<Record<string, string>> = {
  BAD_CREDENTIALS: "The e-mail address or the password is wrong.",
  EMAIL_TAKEN: "An account with this e-mail address exists already. Sign in instead?",
  HANDLE_TAKEN: "This handle is taken. Choose another one.",
  TOO_MANY_HANDLES: "You have changed your handle too often. Take a former one again, or try again later.",
  ETAG_MISMATCH: "It was changed elsewhere meanwhile. Look at it again, then try once more.",
  MESSAGE_DELETED: "This message was deleted meanwhile.",
  MESSAGE_NOT_FOUND: "This message is no longer here.",
  NOT_OWNER: "Only the conversation's owner can do that.",
  SESSION_NOT_FOUND: "That session has ended already.",
  TOO_MANY_MEMBERS: "This conversation is full.",
  MEMBER_UNKNOWN: "One of these people is no longer here. Choose again.",
  CONVERSATION_NOT_FOUND: "This conversation does not exist, or you are not in it.",
  TOO_MANY_CONVERSATIONS: "You, or one of these people, are in too many conversations.",
  MEMBER_NOT_AVAILABLE: "One of these people does not accept conversations from you.",
  MEMBER_FULL: "Too many requests wait for one of these people already. Try again later.",
  TOO_MANY_INVITATIONS: "Too many of your invitations are not accepted yet. Wait for some of them.",
  REQUEST_PENDING: "Accept this conversation first.",
  INVITATION_NOT_FOUND: "This invitation is no longer there.",
  TOO_MANY_BLOCKED: "You have blocked as many people as you can. Unblock somebody first.",
};

/** What went wrong, and what the user can do about it. */
export function explain(error: unknown): string {
  if (error instanceof OutboxFull) return "Too many messages are waiting to be sent. Wait for the connection.";
  const known = BY_REASON[reasonOf(error)];
  if (known) return known;
  const [violation] = violationsOf(error);
  if (violation) return explainViolation(...violation);
  const { code, rawMessage } = ConnectError.from(error);
  if (code === Code.ResourceExhausted) return `That was too often. Try again ${inSeconds(retryDelayOf(error))}.`;
  if (isTransient(error)) return "The server cannot be reached just now. Try again in a moment.";
  if (code === Code.Internal || code === Code.Unknown) return "Something went wrong on the server. Try again in a moment.";
  return rawMessage ? sentence(rawMessage) : "This did not work. Try again in a moment.";
}

/** What a value must look like, by the last part of its field's path. */
const SHAPES: Readonly<Record<string, string>> = {
  handle: "Use 3 to 30 small letters, digits and underscores, with a letter first.",
  email: "Enter an e-mail address, such as ada@example.com.",
};

/** What to do about a value that violates a rule of the contract. Never shows the rule itself. */
export function explainViolation(field: string, description: string): string {
  if (description.startsWith("is reserved")) return "This handle is reserved. Choose another one.";
  const shape = SHAPES[field.split(".").at(-1) ?? ""];
  if (shape) return shape;
  const [, bound, count, unit] = /^must have at (least|most) (\d+) (\w+)/.exec(description) ?? [];
  if (bound === "least" && count === "1") return "This is required.";
  if (unit === "bytes") return bound === "most" ? "This text is too long. Shorten it." : "This text is too short.";
  if (bound && count && unit) return `Use at ${bound} ${count} ${unit}.`;
  if (description.includes("invisible") || description.includes("not contain")) {
    return "This text contains a character that cannot be used, such as an invisible one. Type it again.";
  }
  return "This value cannot be used. Change it and try again.";
}

/** The server's message with a capital and a full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  const closed = /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
  return closed.charAt(0).toUpperCase() + closed.slice(1);
}

function inSeconds(ms: number | undefined): string {
  if (ms === undefined) return "in a moment";
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  return seconds < 90 ? `in ${seconds} s` : `in ${Math.ceil(seconds / 60)} minutes`;
}
