// Adds a `traceparent` to each call (W3C Trace Context, https://www.w3.org/TR/trace-context/), the parent of the mesh's
// spans and log lines. The SDK records nothing and leaves the flag "sampled" unset: the gateway decides whether a trace
// is exported.

import type { Interceptor } from "@connectrpc/connect";

const HEADER = "traceparent";
/** The form of a valid `traceparent`. */
const WELL_FORMED = /^00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$/;

/** Returns the headers of an operation with several calls: each call is a span of the same trace. */
export function newTrace(): Record<string, string> {
  return { [HEADER]: traceparent(randomId(16), "00") };
}

/** Gives each attempt of a call its own span in the call's trace. A call without a trace starts one. */
export const trace: Interceptor = (next) => (request) => {
  const [, id, flags] = WELL_FORMED.exec(request.header.get(HEADER) ?? "") ?? [];
  request.header.set(HEADER, traceparent(id ?? randomId(16), flags ?? "00"));
  return next(request);
};

function traceparent(traceId: string, flags: string): string {
  return `00-${traceId}-${randomId(8)}-${flags}`;
}

/** Random bytes in hexadecimal. All zeros are not a valid id. */
function randomId(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return /[^0]/.test(id) ? id : randomId(length);
}
