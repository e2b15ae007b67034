// Explains errors to the user: what happened and what to do next.

import { Code, ConnectError } from "@connectrpc/connect";

import { isTransient, OutboxFull, reasonOf, retryDelayOf, violationsOf } from "../../client/src/index.js";

/** A message that was written for the user. */
export class Advice extends Error {}

/** A conversation that the user cannot see. */
export const NO_CONVERSATION = "This conversation does not exist, or you are not a member.";

const BY_REASON: Readonly<Record<string, string>> = {
  BAD_CREDENTIALS: "The e-mail address or the password is wrong.",
  EMAIL_TAKEN: "An account with this e-mail address exists already. Sign in instead?",
  HANDLE_RESERVED: "This handle is reserved. Choose another one.",
  HANDLE_TAKEN: "This handle is taken. Choose another one.",
  TOO_MANY_HANDLES: "You have changed your handle too often. Take a former one again, or try again later.",
  ETAG_MISMATCH: "It was changed elsewhere meanwhile. Look at it again, then try once more.",
  CONCURRENT_SIGN_UP: "Somebody is signing up with this e-mail address at this moment. Try again in a minute.",
  CONVERSATION_STORAGE_FULL: "This conversation takes as much storage as it may. Delete messages, or start another one.",
  CROSS_ORIGIN: "This page was opened from another site. Open it from its own address, then try again.",
  MESSAGE_DELETED: "This message was deleted meanwhile.",
  MESSAGE_TOO_LARGE: "This is too long to send. Shorten it, or send it in parts.",
  MESSAGE_NOT_FOUND: "This message is no longer here.",
  NOT_ACCEPTED: "This person does not accept messages from you.",
  NOT_AUTHOR: "Only the author of a message can do that.",
  NOT_YOURS: "You can change your own profile only.",
  PASSWORD_UNCHANGED: "The new password is the same as the current one. Choose another one.",
  SELF_BLOCKED: "You cannot block yourself.",
  SIGN_IN_REQUIRED: "You are signed out. Sign in, then try again.",
  TOO_MANY_CHANGES: "Many people are changing this at the same time. Try again in a moment.",
  TOO_MANY_EDITS: "This message was changed too often. Delete it, and write a new one.",
  NOT_OWNER: "Only the conversation's owner can do that.",
  SESSION_NOT_FOUND: "That session has ended already.",
  TOO_MANY_MEMBERS: "This conversation has as many members as it can have. Start another one for the others.",
  USER_NOT_FOUND: "This person is no longer here. Choose somebody else.",
  MEMBER_UNKNOWN: "One of these people is no longer here. Choose again.",
  CONVERSATION_NOT_FOUND: NO_CONVERSATION,
  TOO_MANY_CONVERSATIONS: "You, or one of these people, are in too many conversations. Leave some that you no longer need, or choose somebody else.",
  MEMBER_NOT_AVAILABLE: "One of these people does not accept conversations from you. Choose somebody else.",
  MEMBER_FULL: "Too many requests wait for one of these people already. Try again later.",
  TOO_MANY_INVITATIONS: "Too many of your invitations are not accepted yet. Try again when some of them are.",
  REQUEST_PENDING: "Accept this conversation before you do that.",
  INVITATION_NOT_FOUND: "This invitation is no longer there.",
  TOO_MANY_BLOCKED: "You have blocked as many people as you can. Unblock somebody first.",
};

/** What went wrong, and what the user can do about it. */
export function explain(error: unknown): string {
  if (error instanceof Advice) return error.message;
  if (error instanceof OutboxFull) return "Too many messages are waiting to be sent. Wait for the connection.";
  const reason = reasonOf(error);
  const known = Object.hasOwn(BY_REASON, reason) ? BY_REASON[reason] : undefined;
  if (known) return known;
  const [violation] = violationsOf(error);
  if (violation) return explainViolation(...violation);
  const { code, rawMessage } = ConnectError.from(error);
  const delay = retryDelayOf(error);
  if (code === Code.ResourceExhausted && (delay !== undefined || reason === "")) {
    return `That was too often. Try again ${inSeconds(delay)}.`;
  }
  if (code === Code.Aborted && reason !== "") return "Somebody changed this at the same moment. Look at it again, then try once more.";
  if (isTransient(error)) return "The server cannot be reached just now. Try again in a moment.";
  // Where a newer server has a reason that this page does not know, its own words may do.
  if (reason !== "" && EXPLAINED.has(code) && isForPeople(rawMessage)) return sentence(rawMessage);
  return BY_CODE[code] ?? "This did not work. Try again in a moment.";
}

/** Errors whose message says what is wrong with the request. Messages of others are for operators. */
const EXPLAINED: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.ResourceExhausted,
  Code.FailedPrecondition,
  Code.OutOfRange,
]);

const BY_CODE: Readonly<Partial<Record<Code, string>>> = {
  [Code.Internal]: "Something went wrong on the server. Try again in a moment.",
  [Code.Unknown]: "Something went wrong on the server. Try again in a moment.",
  [Code.InvalidArgument]: "The server did not accept this. Check what you entered, and try again.",
  [Code.OutOfRange]: "The server did not accept this. Check what you entered, and try again.",
  [Code.NotFound]: "This is no longer here. Reload the page to see what is.",
  [Code.AlreadyExists]: "This exists already. Choose something else.",
  [Code.PermissionDenied]: "You are not allowed to do this.",
  [Code.Unauthenticated]: "You are signed out. Sign in, then try again.",
  [Code.FailedPrecondition]: "This is not possible as things are now. Reload the page to see what has changed.",
  [Code.ResourceExhausted]: "A limit is reached. Remove what you no longer need, or try again later.",
  [Code.Unimplemented]: "This page and the server do not fit together. Reload the page.",
};

const LONGEST_SENTENCE = 160;

/** Whether a message reads as a sentence: words and punctuation, and no names of fields, types or rules. */
function isForPeople(message: string): boolean {
  const isProse = /^[\p{L}\p{M}\p{N} ,.;:!?'\u2019()-]+$/u.test(message) && message.includes(" ");
  const hasNames = /\p{L}\.\p{L}|\p{Ll}\p{Lu}|\p{Lu}{3}/u.test(message);
  return isProse && !hasNames && message.length <= LONGEST_SENTENCE;
}

/** What a value must look like, by the last part of its field's path. */
const SHAPES: Readonly<Record<string, string>> = {
  handle: "Use 3 to 30 small letters, digits and underscores, with a letter first.",
  email: "Enter an e-mail address, such as ada@example.com.",
};

/** By the beginning of the server's description. The first that fits counts. */
const BY_DESCRIPTION: readonly (readonly [start: string, words: string])[] = [
  ["is reserved", "This handle is reserved. Choose another one."],
  ["must not contain invisible characters; delete it", "This address contains invisible characters. Delete it, and type it by hand."],
  ["must end with a valid domain", "The part after the @ is not a valid domain. Use one such as example.com."],
  ["must have at most 254 ", "This address is too long. Use a shorter one."],
  ["must not contain a space or a combining mark", "Remove the space or the accent at the beginning, or the space at the end."],
  ["must not contain line breaks", "This text contains a line break or a control character. Write it in one line."],
  ["must not be invisible", "This text is invisible. Add a letter, a digit or a symbol."],
];

/** What to do about a value that violates a rule of the contract. Never shows the rule itself. */
export function explainViolation(field: string, description: string): string {
  const [, words] = BY_DESCRIPTION.find(([start]) => description.startsWith(start)) ?? [];
  if (words) return words;
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

/** What to show when a sign-up failed. Its rate limits count by network address, which others may share. */
export function explainSignUp(error: unknown): unknown {
  const delay = retryDelayOf(error);
  if (reasonOf(error) !== "RATE_LIMITED" || delay === undefined) return error;
  const minutes = Math.max(1, Math.ceil(delay / 60_000));
  return new Advice(`Too many sign-ups from your network address. Try again in ${minutes} ${minutes === 1 ? "minute" : "minutes"}.`);
}

function inSeconds(ms: number | undefined): string {
  if (ms === undefined) return "in a moment";
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  return seconds < 90 ? `in ${seconds} s` : `in ${Math.ceil(seconds / 60)} minutes`;
}
