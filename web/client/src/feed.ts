// The live feed: all events of the user's conversations, across lost connections, server restarts and expired tokens.
// Delivers each entry once, and in order within its conversation.

import { type Client } from "@connectrpc/connect";

import { Backoff, waitAfter } from "./backoff.js";
import { isRefused, isSessionEnd, isUnauthenticated, reasonOf } from "./errors.js";
import type { Conversation, Entry, MessagingService, ReadMark } from "./gen/trellis/messaging/v1/messaging_pb.js";
import type { Session } from "./session.js";
import { newTrace } from "./trace.js";
import { bearer } from "./transport.js";

export type FeedEvent =
  /** All missed events have been delivered; live events follow. */
  | { readonly kind: "live" }
  /** The connection is lost. The feed reconnects. */
  | { readonly kind: "reconnecting" }
  /** A conversation without a cursor. ListMessages has its history up to `conversation.cursor`. */
  | { readonly kind: "conversation"; readonly conversation: Conversation }
  | { readonly kind: "entry"; readonly entry: Entry; readonly cursor: string }
  /** The read marks of a conversation changed. */
  | { readonly kind: "read"; readonly conversationId: string; readonly marks: readonly ReadMark[] }
  /** The user has a new invitation. Call ListInvitations. */
  | { readonly kind: "invitations" }
  /** The user is no longer, or never was, a member of the conversation. */
  | { readonly kind: "left"; readonly conversationId: string }
  /** The server lost history, as after a restored backup: discard the local state. */
  | { readonly kind: "reset" };

export interface FeedParts {
  readonly messaging: Pick<Client<typeof MessagingService>, "subscribe">;
  readonly session: Pick<Session, "accessToken" | "replace">;
  readonly backoff?: Backoff;
  /** A stream without an event for so long has failed. The server sends a heartbeat every 20 seconds. */
  readonly silenceMs?: number;
}

/** Conversation id → the newest cursor that the client has for it. */
export type Cursors = ReadonlyMap<string, string>;

export async function* follow(parts: FeedParts, cursors: Cursors, signal: AbortSignal): AsyncGenerator<FeedEvent> {
  const { session, backoff = new Backoff() } = parts;
  const positions = new Positions(cursors);
  // All streams of the feed belong to one trace.
  const trace = newTrace();
  while (!signal.aborted) {
    let token: string | undefined;
    let wasLive = false;
    let end: unknown;
    try {
      token = await session.accessToken();
      for await (const event of stream(parts, { ...trace, authorization: bearer(token) }, positions, signal)) {
        if (event.kind === "live") {
          wasLive = true;
          backoff.reset();
        }
        yield event;
      }
    } catch (error) {
      end = error;
    }
    if (signal.aborted) return;
    // After an end that the server announced, the feed reconnects without an event.
    if (wasLive && isAnnounced(end)) {
      if (token !== undefined && isUnauthenticated(end)) await session.replace(token).catch(() => {});
      continue;
    }
    yield { kind: "reconnecting" };
    if (reasonOf(end) === "CURSOR_EPOCH_CHANGED" || reasonOf(end) === "CURSOR_INVALID") {
      positions.clear();
      yield { kind: "reset" };
    } else if (isSessionEnd(end) || isRefused(end) && reasonOf(end) !== "TOO_MANY_STREAMS") {
      throw end;
    } else if (isUnauthenticated(end) && token !== undefined) {
      await replaceToken(session, token);
    }
    await waitAfter(end, backoff, signal);
  }
}

/** Whether the stream ended because the server stops or the token expired. */
function isAnnounced(end: unknown): boolean {
  const reason = reasonOf(end);
  return reason === "TOKEN_EXPIRED" || reason === "SERVER_STOPPING";
}

/** Throws only when the session has ended. After any other error the next attempt asks for a token again. */
async function replaceToken(session: FeedParts["session"], token: string): Promise<void> {
  try {
    await session.replace(token);
  } catch (error) {
    if (isSessionEnd(error)) throw error;
  }
}

/** Yields the events of one Subscribe call until it ends. */
async function* stream(
  parts: FeedParts,
  headers: Record<string, string>,
  positions: Positions,
  signal: AbortSignal,
): AsyncGenerator<FeedEvent> {
  const { messaging, silenceMs = 60_000 } = parts;
  const call = new AbortController();
  const end = () => call.abort();
  signal.addEventListener("abort", end);
  let silence = setTimeout(end, silenceMs);
  const options = { signal: call.signal, timeoutMs: 0, headers };
  try {
    for await (const { event } of messaging.subscribe({ positions: positions.toRequest() }, options)) {
      clearTimeout(silence);
      silence = setTimeout(end, silenceMs);
      if (event.case === "caughtUp") {
        yield { kind: "live" };
      } else if (event.case === "conversation") {
        positions.announce(event.value);
        yield { kind: "conversation", conversation: event.value };
      } else if (event.case === "conversationLeft") {
        positions.drop(event.value.conversationId);
        yield { kind: "left", conversationId: event.value.conversationId };
      } else if (event.case === "invitationsChanged") {
        yield { kind: "invitations" };
      } else if (event.case === "readMarks") {
        yield { kind: "read", conversationId: event.value.conversationId, marks: event.value.marks };
      } else if (event.case === "entry" && event.value.entry) {
        const { entry, cursor } = event.value;
        if (positions.advance(entry, cursor)) yield { kind: "entry", entry, cursor };
      }
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", end);
    // Leaving the loop does not end the call: Connect keeps its connection until the call is aborted.
    call.abort();
  }
}

/** The newest cursor of each conversation. */
class Positions {
  readonly #cursors: Map<string, string>;
  readonly #seqs = new Map<string, bigint>();

  constructor(cursors: Cursors) {
    this.#cursors = new Map(cursors);
  }

  toRequest(): { conversationId: string; cursor: string }[] {
    return [...this.#cursors].map(([conversationId, cursor]) => ({ conversationId, cursor }));
  }

  announce({ conversationId, cursor }: Conversation): void {
    this.#cursors.set(conversationId, cursor);
  }

  /** Whether the entry is new. */
  advance({ conversationId, seq }: Entry, cursor: string): boolean {
    if (seq <= (this.#seqs.get(conversationId) ?? 0n)) return false;
    this.#seqs.set(conversationId, seq);
    this.#cursors.set(conversationId, cursor);
    return true;
  }

  drop(conversationId: string): void {
    this.#cursors.delete(conversationId);
    this.#seqs.delete(conversationId);
  }

  clear(): void {
    this.#cursors.clear();
    this.#seqs.clear();
  }
}
