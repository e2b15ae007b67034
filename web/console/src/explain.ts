// Explains errors to users: what happened and what to do next.

import { Code, ConnectError } from "@connectrpc/connect";

import { isTransient, OutboxFull, reasonOf, retryDelayOf, violationsOf } from "../../client/src/index.js";

/** An error whose message is written for the user. */
export class Advice extends Error {}

/** A conversation that the user cannot see. */
export const NO_CONVERSATION = "This conversation does not exist, or you are not a member.";

const BY_REASON: Readonly<Record<string, string>> = {
  ACCOUNT_NOT_ACTIVE: "This account is deleted, suspended, or its sign-up is not finished.",
  ADMIN_CODE_INVALID: "This link is wrong, was used, or has expired. Ask the operator for a new one.",
  BAD_CREDENTIALS: "The e-mail address or the password is wrong.",
  CHALLENGE_INVALID: "This sign-in took too long, or had too many wrong codes. Start again with your password.",
  CODE_REQUIRED: "This account has an authenticator app. Enter a code of it too.",
  CODE_INVALID: "This code is wrong, or was used before. Wait for the next one.",
  CODES_LOCKED: "Too many codes were wrong. Use a recovery code, or set a new password.",
  FACTOR_MISSING: "This account has no authenticator app.",
  FACTOR_NOT_FOUND: "This authenticator app was removed already.",
  TOTP_ENABLED: "This account has an authenticator app already. Remove it first.",
  TOTP_NOT_PENDING: "This took too long. Begin again, and scan the new code.",
  EMAIL_TAKEN: "An account with this e-mail address already exists. Sign in instead.",
  EMAIL_MISSING: "This account has no e-mail address. Enter one first.",
  EMAIL_UNCHANGED: "This is the address of your account already. Enter another one.",
  EMAIL_VERIFIED: "The owner of this address has verified it already.",
  LINK_INVALID: "This link was used before, has expired, or is not complete. Ask for a new one.",
  MAIL_DISABLED: "This server sends no e-mail. Ask its operator for help.",
  MAILBOX_KEY_INVALID: "This address does not open the mailbox. The server prints the right one when it starts.",
  HANDLE_RESERVED: "This handle is reserved. Choose another one.",
  HANDLE_TAKEN: "This handle is taken. Choose another one.",
  TOO_MANY_HANDLES: "You have changed your handle too often. Choose one of your former handles, or try again later.",
  ETAG_MISMATCH: "This was changed on another device or by another person. Check the current version, then try again.",
  CONCURRENT_SIGN_UP: "A sign-up with this e-mail address is in progress. Try again in a minute.",
  CONVERSATION_STORAGE_FULL: "This conversation has used up its storage. Delete long messages, or start another one.",
  USER_STORAGE_FULL: "Your messages have used up the storage of your account. Delete long messages, then try again.",
  CROSS_ORIGIN: "This page was opened from another site. Open it from its own address, then try again.",
  LAST_ADMIN: "No other active account is an admin. Make another account an admin first.",
  MESSAGE_DELETED: "This message was deleted, so it cannot be changed.",
  MESSAGE_TOO_LARGE: "This message is too long. Shorten it, or send it in parts.",
  MESSAGE_NOT_FOUND: "This message no longer exists.",
  NOT_ACCEPTED: "This person does not accept messages from you.",
  NOT_AUTHOR: "Only the author of a message can change it.",
  NOT_YOURS: "You can change only your own profile.",
  PASSWORD_UNCHANGED: "The new password is the same as the current one. Choose another one.",
  ROLE_REQUIRED: "Your account may not do this. Ask an admin.",
  SELF_BLOCKED: "You cannot block yourself.",
  SIGN_IN_REQUIRED: "You are signed out. Sign in, then try again.",
  STEP_UP_REQUIRED: "This needs your password again. Try again, and enter it.",
  TOO_MANY_CHANGES: "Many people are changing this at the same time. Try again in a moment.",
  TOO_MANY_EDITS: "This message was changed too often. Delete it, and write a new one.",
  NOT_OWNER: "Only the owner of the conversation can do this.",
  SESSION_NOT_FOUND: "This session has already ended.",
  TOO_MANY_MEMBERS: "This conversation has the maximum number of members. Start another one for more people.",
  USER_NOT_FOUND: "This person no longer has an account here. Choose another person.",
  MEMBER_UNKNOWN: "One of these people no longer has an account here. Choose again.",
  CONVERSATION_NOT_FOUND: NO_CONVERSATION,
  TOO_MANY_CONVERSATIONS: "You or one of these people has reached the maximum number of conversations. Leave some that you no longer need, or choose other people.",
  MEMBER_NOT_AVAILABLE: "One of these people does not accept conversations from you. Choose another person.",
  MEMBER_FULL: "One of these people has too many open requests. Try again later.",
  TOO_MANY_INVITATIONS: "Too many of your invitations are still open. Try again when people have accepted some of them.",
  REQUEST_PENDING: "You have not accepted this conversation. Accept it first, then try again.",
  INVITATION_NOT_FOUND: "This invitation no longer exists. It has expired, or the sender has withdrawn it.",
  TOO_MANY_BLOCKED: "You have blocked the maximum number of people. Unblock one of them first.",
};

/** Returns what happened, and what the user can do next. */
export function explain(error: unknown): string {
  if (error instanceof Advice) return error.message;
  if (error instanceof OutboxFull) return "Too many messages are waiting to be sent. Wait until the connection returns.";
  const reason = reasonOf(error);
  const known = Object.hasOwn(BY_REASON, reason) ? BY_REASON[reason] : undefined;
  if (known) return known;
  const [violation] = violationsOf(error);
  if (violation) return explainViolation(...violation);
  const { code, rawMessage } = ConnectError.from(error);
  const delay = retryDelayOf(error);
  if (code === Code.ResourceExhausted && (delay !== undefined || reason === "")) {
    return `You did this too often. Try again ${inSeconds(delay)}.`;
  }
  if (code === Code.Aborted && reason !== "") return "Another person changed this at the same time. Check the current version, then try again.";
  if (isTransient(error)) return "The server cannot be reached. Try again in a moment.";
  // A newer server may send a reason that this page does not know: show its message.
  if (reason !== "" && EXPLAINED.has(code) && isForPeople(rawMessage)) return sentence(rawMessage);
  return BY_CODE[code] ?? "This did not work. Try again in a moment.";
}

/** Codes whose messages describe the request. Messages of other codes are for operators. */
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
  [Code.NotFound]: "This no longer exists. Reload the page to see the current state.",
  [Code.AlreadyExists]: "This already exists. Choose another value.",
  [Code.PermissionDenied]: "You are not allowed to do this.",
  [Code.Unauthenticated]: "You are signed out. Sign in, then try again.",
  [Code.FailedPrecondition]: "This is not possible in the current state. Reload the page to see what has changed.",
  [Code.ResourceExhausted]: "A limit is reached. Remove what you no longer need, or try again later.",
  [Code.Unimplemented]: "This page and the server have different versions. Reload the page.",
};

const LONGEST_SENTENCE = 160;

/** Whether a message reads as a sentence: words and punctuation, and no names of fields, types or rules. */
function isForPeople(message: string): boolean {
  const isProse = /^[\p{L}\p{M}\p{N} ,.;:!?'\u2019()-]+$/u.test(message) && message.includes(" ");
  const hasNames = /\p{L}\.\p{L}|\p{Ll}\p{Lu}|\p{Lu}{3}/u.test(message);
  return isProse && !hasNames && message.length <= LONGEST_SENTENCE;
}

/** How to fill in a field, by the last part of its path. */
const SHAPES: Readonly<Record<string, string>> = {
  handle: "Use 3 to 30 lower-case letters, digits and underscores, with a letter first.",
  email: "Enter an e-mail address, such as ada@example.com.",
  new_email: "Enter an e-mail address, such as ada@example.com.",
};

/** By the beginning of the server's description. The first that fits counts. */
const BY_DESCRIPTION: readonly (readonly [start: string, words: string])[] = [
  ["is the address of the account already", "This is the address of your account already. Enter another one."],
  ["is reserved", "This handle is reserved. Choose another one."],
  ["must not contain invisible characters; delete it", "This address contains invisible characters. Delete it, and type it by hand."],
  ["must end with a valid domain", "The part after the @ is not a valid domain. Use one such as example.com."],
  ["must have at most 254 ", "This address is too long. Use a shorter one."],
  ["must not contain a space or a combining mark", "Remove the space or the accent at the beginning, or the space at the end."],
  ["must not contain line breaks", "This text contains a line break or a control character. Write it in one line."],
  ["must not be invisible", "This text is invisible. Add a letter, a digit or a symbol."],
];

/** Descriptions of a refused password, which end the sentence "This password ...". */
const OF_PASSWORDS = ["is too easy to guess", "is in a list of stolen passwords"];

/** Returns how to fix a value that violates a rule of the contract, without the rule itself. */
export function explainViolation(field: string, description: string): string {
  if (OF_PASSWORDS.some((start) => description.startsWith(start))) return sentence(`This password ${description}`);
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

/** Capitalizes the server's message and adds a full stop. */
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
