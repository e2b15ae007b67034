// The two transports to the gateway, both gRPC-Web in binary: one for public calls, one with the session's token.

import type { Message } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { Interceptor, StreamRequest, Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { Backoff, waitAfter } from "./backoff.js";
import { isStepUpRequired, isTokenRefused, isTransient } from "./errors.js";
import type { Session } from "./session.js";
import { trace } from "./trace.js";

/** The timeout of a call with its retries. The contract's deadlines are shorter. */
const TIMEOUT_MS = 20_000;
const ATTEMPTS = 4;

export function publicTransport(baseUrl: string): Transport {
  return transport(baseUrl, []);
}

/**
 * Asks the user for the password, and for a code if `prove` fails with `CODE_REQUIRED`, because a call needs a recent proof of who they are. `prove` sends it, and rejects when it
 * is wrong. Resolves to false if the user gives up; the call then fails with `STEP_UP_REQUIRED`.
 */
export type AskForProof = (prove: (password: string, code?: string) => Promise<void>) => Promise<boolean>;

export function signedInTransport(baseUrl: string, session: Session, ask?: AskForProof): Transport {
  // Retries are outermost: each attempt gets a current token.
  const once = transport(baseUrl, [retryReads, authenticate(session)]);
  return ask ? provingAgain(once, session, ask) : once;
}

/** Repeats a call that needs a recent proof. Not an interceptor: the timeout of a call does not include the user's typing. */
export function provingAgain(once: Transport, session: Session, ask: AskForProof): Transport {
  // Calls that fail together ask once.
  let asking: Promise<boolean> | undefined;
  return {
    stream: (...call) => once.stream(...call),
    unary: async (...call) => {
      try {
        return await once.unary(...call);
      } catch (error) {
        if (!isStepUpRequired(error)) throw error;
        asking ??= ask((password, code) => session.reauthenticate(password, code)).finally(() => {
          asking = undefined;
        });
        if (!(await asking)) throw error;
        return once.unary(...call);
      }
    },
  };
}

function transport(baseUrl: string, interceptors: Interceptor[]): Transport {
  const grpcWeb = createGrpcWebTransport({
    baseUrl,
    // Innermost, so that each attempt is a span of the call's trace.
    interceptors: [...interceptors, trace],
    useBinaryFormat: true,
    defaultTimeoutMs: TIMEOUT_MS,
    // The session's cookie belongs to the gateway's own origin.
    fetch: (input, init) => fetch(input, { ...init, credentials: "include" }),
  });
  return {
    unary: (...call) => grpcWeb.unary(...call),
    // The default timeout is one of unary calls: a stream lasts until the caller, the server or its token ends it.
    stream: (method, signal, timeoutMs, ...call) => grpcWeb.stream(method, signal, timeoutMs ?? 0, ...call),
  };
}

/** Adds the token, and retries once with a new one when the server refuses it. */
function authenticate(session: Session): Interceptor {
  return (next) => async (call) => {
    // The feed sets the header of its streams itself: it must know which token has expired.
    if (call.stream && call.header.has("authorization")) return next(call);
    const request = call.stream ? await repeatable(call) : call;
    const token = await session.accessToken();
    request.header.set("authorization", bearer(token));
    try {
      return await next(request);
    } catch (error) {
      if (!isTokenRefused(error)) throw error;
      request.header.set("authorization", bearer(await session.replace(token)));
      return next(request);
    }
  };
}

/** Keeps the request messages of a stream, so that the stream can be opened twice. gRPC-Web sends all of them at its start. */
async function repeatable(call: StreamRequest): Promise<StreamRequest> {
  const messages: Message[] = [];
  for await (const message of call.message) messages.push(message);
  async function* replay() {
    yield* messages;
  }
  return { ...call, message: { [Symbol.asyncIterator]: replay } };
}

export function bearer(token: string): string {
  return `Bearer ${token}`;
}

/** Retries calls that the contract marks as without side effects. */
const retryReads: Interceptor = (next) => async (request) => {
  const isRead = request.method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  if (request.stream || !isRead) return next(request);
  const backoff = new Backoff();
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await next(request);
    } catch (error) {
      if (attempt === ATTEMPTS || request.signal.aborted || !isTransient(error)) throw error;
      await waitAfter(error, backoff, request.signal);
    }
  }
};
