// The two transports to the gateway, both gRPC-Web in binary: one for public calls, one with the session's token.

import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { Backoff, waitAfter } from "./backoff.js";
import { isTokenRefused, isTransient } from "./errors.js";
import type { Session } from "./session.js";
import { trace } from "./trace.js";

/** The timeout of a call with its retries. The contract's deadlines are shorter. */
const TIMEOUT_MS = 20_000;
const ATTEMPTS = 4;

export function publicTransport(baseUrl: string): Transport {
  return transport(baseUrl, []);
}

export function signedInTransport(baseUrl: string, session: Session): Transport {
  // Retries are outermost: each attempt gets a current token.
  return transport(baseUrl, [retryReads, authenticate(session)]);
}

function transport(baseUrl: string, interceptors: Interceptor[]): Transport {
  return createGrpcWebTransport({
    baseUrl,
    // Innermost, so that each attempt is a span of the call's trace.
    interceptors: [...interceptors, trace],
    useBinaryFormat: true,
    defaultTimeoutMs: TIMEOUT_MS,
    // The session's cookie belongs to the gateway's own origin.
    fetch: (input, init) => fetch(input, { ...init, credentials: "include" }),
  });
}

/** Adds the token, and retries once with a new one when the server refuses it. */
function authenticate(session: Session): Interceptor {
  return (next) => async (request) => {
    // A stream sets its own token, because it must know which one has expired.
    if (request.stream) return next(request);
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
