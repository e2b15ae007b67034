// What an error of a call means: which codes are worth a repeat, and what its details say.

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** The reason that the server gave, such as `HANDLE_TAKEN`; empty when no Trellis server spoke. */
export function reasonOf(error: unknown): string {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? "";
}

/** What is wrong with which field of the request, by the field's path in the contract's spelling. */
export function violationsOf(error: unknown): Map<string, string> {
  const violations = ConnectError.from(error)
    .findDetails(BadRequestSchema)
    .flatMap((detail) => detail.fieldViolations);
  return new Map(violations.map(({ field, description }) => [field, description]));
}

/** How long the server asks to wait before a repeat: google.rpc.RetryInfo, or the header `retry-after`. */
export function retryDelayOf(error: unknown): number | undefined {
  const failure = ConnectError.from(error);
  const delay = failure.findDetails(RetryInfoSchema)[0]?.retryDelay;
  if (delay) return durationMs(delay);
  const header = failure.metadata.get("retry-after");
  const seconds = header === null ? Number.NaN : Number(header);
  return Number.isFinite(seconds) ? seconds * 1_000 : undefined;
}

export function isUnauthenticated(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Unauthenticated;
}

/** The access token was not taken, or none was sent: a new one may be. A wrong password is nothing of the kind. */
export function isTokenRefused(error: unknown): boolean {
  return isUnauthenticated(error) && reasonOf(error) !== "BAD_CREDENTIALS";
}

/** The call may succeed later, unchanged: the server is away or busy, or the network failed. */
export function isTransient(error: unknown): boolean {
  const { code } = ConnectError.from(error);
  // Whatever code the break of a call is told by: a service may have stopped in the middle of an answer.
  if (reasonOf(error) === "ANSWER_CUT") return true;
  switch (code) {
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Aborted:
      return true;
    case Code.ResourceExhausted:
      // A quota refills and says when; a limit, such as on conversations, does not.
      return retryDelayOf(error) !== undefined;
    case Code.Unknown:
    case Code.Internal:
      // Without a reason no Trellis server spoke: the connection was refused, or cut in mid-answer.
      return reasonOf(error) === "";
    default:
      return false;
  }
}
