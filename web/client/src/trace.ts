// Where a call stands in a trace (W3C Trace Context, https://www.w3.org/TR/trace-context/): the mesh's spans hang
// below it, and its log lines name it. Nothing is recorded here, so the flag "sampled" is not set: whether a trace is
// exported is for the gateway to say.

import type { Interceptor } from "@connectrpc/connect";

const HEADER = "traceparent";
/** What a call that continues a trace may come with. */
const WELL_FORMED = /^00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})$/;

/** The headers of an operation that may take several calls: each is a place of its own in one trace. */
export function newTrace(): Record<string, string> {
  return { [HEADER]: place(randomId(16), "00") };
}

/** Gives each attempt of a call a place in the call's trace; a call that brings none begins one. */
export const trace: Interceptor = (next) => (request) => {
  const [, id, flags] = WELL_FORMED.exec(request.header.get(HEADER) ?? "") ?? [];
  request.header.set(HEADER, place(id ?? randomId(16), flags ?? "00"));
  return next(request);
};

function place(traceId: string, flags: string): string {
  return `00-${traceId}-${randomId(8)}-${flags}`;
}

/** Random bytes in hexadecimal; never all zero, which is no id. */
function randomId(length: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return /[^0]/.test(id) ? id : randomId(length);
}
