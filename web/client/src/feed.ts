// The live feed: everything that happens in the user's conversations, across lost connections, restarts of the
// server and ends of tokens. Each entry comes once and in order within its conversation.

import { type Client } from "@connectrpc/connect";

import { Backoff, waitAfter } from "./backoff.js";
import { isRefused, isSessionEnd, isUnauthenticated, reasonOf } from "./errors.js";
import type { Conversation, Entry, MessagingService, ReadMark } from "./gen/trellis/messaging/v1/messaging_pb.js";
import type { Session } from "./session.js";
import { newTrace } from "./trace.js";
import { bearer } from "./transport.js";

export type FeedEvent =
  /** Everything that was missed has been told; what follows is live. */
  | { readonly kind: "live" }
  /** The connection is lost, and being made again. */
  | { readonly kind: "reconnecting" }
  /** A conversation that no cursor named. What was said in it up to `conversation.cursor` is for ListMessages. */
  | { readonly kind: "conversation"; readonly conversation: Conversation }
  | { readonly kind: "entry"; readonly entry: Entry; readonly cursor: string }
  /** How far people have read, after that changed. */
  | { readonly kind: "read"; readonly conversationId: string; readonly marks: readonly ReadMark[] }
  /** The user has an invitation more: ListInvitations has it. */
  | { readonly kind: "invitations" }
  /** A conversation that the user is not in (any more). */
  | { readonly kind: "left"; readonly conversationId: string }
  /** The server's history is another one, as after a restored backup: forget what was read before. */
  | { readonly kind: "reset" };

export interface FeedParts {
  readonly messaging: Pick<Client<typeof MessagingService>, "subscribe">;
  readonly session: Pick<Session, "accessToken" | "replace">;
  readonly backoff?: Backoff;
  /** A stream that says nothing for so long is dead. The server gives a sign of life every 20 seconds. */
  readonly silenceMs?: number;
}

/** Conversation id → the newest cursor that the client has for it. */
export type Cursors = ReadonlyMap<string, string>;

export async function* follow(parts: FeedParts, cursors: Cursors, signal: AbortSignal): AsyncGenerator<FeedEvent> {
  const { session, backoff = new Backoff() } = parts;
  const positions = new Positions(cursors);
  // However often the stream is opened anew, it is one trace.
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
    // An end that the server announced is made good before anybody notices.
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

/** The server was to stop, or the token to end: nothing is wrong. */
function isAnnounced(end: unknown): boolean {
  const reason = reasonOf(end);
  return reason === "TOKEN_EXPIRED" || reason === "SERVER_STOPPING";
}

/** Throws only when the session is over. After any other error the next attempt asks for a token again. */
async function replaceToken(session: FeedParts["session"], token: string): Promise<void> {
  try {
    await session.replace(token);
  } catch (error) {
    if (isSessionEnd(error)) throw error;
  }
}

/** One Subscribe, as events, until it ends. */
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
    // Leaving the loop does not end the call: Connect keeps its connection until it is aborted.
    call.abort();
  }
}

/** How far the client has come in each conversation. */
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
