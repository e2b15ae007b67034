// The two ways to the gateway, both gRPC-Web in binary: one for calls that anybody may make, one that carries
// the session's token.

import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { Backoff, waitAfter } from "./backoff.js";
import { isTokenRefused, isTransient } from "./errors.js";
import type { Session } from "./session.js";
import { trace } from "./trace.js";

/** How long a call may take with its repeats; the contract's deadlines lie below. */
const TIMEOUT_MS = 20_000;
const ATTEMPTS = 4;

export function publicTransport(baseUrl: string): Transport {
  return transport(baseUrl, []);
}

export function signedInTransport(baseUrl: string, session: Session): Transport {
  // Repeats lie outside: each attempt asks for the token anew.
  return transport(baseUrl, [repeatReads, authenticate(session)]);
}

function transport(baseUrl: string, interceptors: Interceptor[]): Transport {
  return createGrpcWebTransport({
    baseUrl,
    // Innermost, so that each attempt has a place of its own in the call's trace.
    interceptors: [...interceptors, trace],
    useBinaryFormat: true,
    defaultTimeoutMs: TIMEOUT_MS,
    // The session's cookie belongs to the gateway's own origin.
    fetch: (input, init) => fetch(input, { ...init, credentials: "include" }),
  });
}

/** Adds the token, and tries once more with a new one when the server refuses it. */
function authenticate(session: Session): Interceptor {
  return (next) => async (request) => {
    // A stream names its token itself, because it must know which one it outlived.
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

/** Repeats what the contract says has no side effects. */
const repeatReads: Interceptor = (next) => async (request) => {
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
