// Classifies errors of calls: which to retry, which are final, which end the session. Reads error details.

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** The reason in the error, such as `HANDLE_TAKEN`; empty when the error is not from a Trellis server. */
export function reasonOf(error: unknown): string {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0]?.reason ?? "";
}

/** The descriptions of the invalid fields, by the field's path in the contract's spelling. */
export function violationsOf(error: unknown): Map<string, string> {
  const violations = ConnectError.from(error)
    .findDetails(BadRequestSchema)
    .flatMap((detail) => detail.fieldViolations);
  return new Map(violations.map(({ field, description }) => [field, description]));
}

/** How many milliseconds the server asks to wait before a retry: google.rpc.RetryInfo, or the header `retry-after`. */
export function retryDelayOf(error: unknown): number | undefined {
  const failure = ConnectError.from(error);
  const delay = failure.findDetails(RetryInfoSchema)[0]?.retryDelay;
  if (delay) return durationMs(delay);
  const header = failure.metadata.get("retry-after");
  const seconds = header === null ? Number.NaN : Number(header);
  return Number.isFinite(seconds) ? seconds * 1_000 : undefined;
}

/**
 * The reasons with which the server reports that the session has ended. The contract of `AuthService` lists
 * them. No other error ends a session.
 */
const SESSION_END_REASONS: ReadonlySet<string> = new Set([
  "REFRESH_TOKEN_INVALID",
  "REFRESH_TOKEN_REUSED",
  "SESSION_COOKIE_DUPLICATED",
  "SIGNED_OUT",
]);

/** The SDK's own error for a call that needs a session when there is none. */
export function signedOutError(): ConnectError {
  const value = { reason: "SIGNED_OUT", domain: "trellis-client" };
  return new ConnectError("no user is signed in", Code.Unauthenticated, undefined, [{ desc: ErrorInfoSchema, value }]);
}

/** Whether the session has ended. The server reports this explicitly; an unexpected error never means it. */
export function isSessionEnd(error: unknown): boolean {
  return isUnauthenticated(error) && SESSION_END_REASONS.has(reasonOf(error));
}

const REFUSALS: ReadonlySet<Code> = new Set([
  Code.InvalidArgument,
  Code.NotFound,
  Code.AlreadyExists,
  Code.PermissionDenied,
  Code.FailedPrecondition,
  Code.OutOfRange,
  Code.Unimplemented,
]);

/** Whether a Trellis server refused the request for a reason that a retry does not change. */
export function isRefused(error: unknown): boolean {
  if (reasonOf(error) === "" && violationsOf(error).size === 0) return false;
  const { code } = ConnectError.from(error);
  if (code === Code.ResourceExhausted) return !isTransient(error);
  return REFUSALS.has(code);
}

export function isUnauthenticated(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Unauthenticated;
}

/** The reasons of refusals that a new access token does not change: a wrong password, a wrong code. */
const WRONG_PROOF_REASONS: ReadonlySet<string> = new Set(["BAD_CREDENTIALS", "CODE_INVALID"]);

/** Whether the server refused the access token, or the call had none, so that a new token may help. */
export function isTokenRefused(error: unknown): boolean {
  return isUnauthenticated(error) && ![...WRONG_PROOF_REASONS, STEP_UP].includes(reasonOf(error));
}

const STEP_UP = "STEP_UP_REQUIRED";

/** Whether the call needs a recent proof of who the user is: `Session.reauthenticate`, then the same call again. */
export function isStepUpRequired(error: unknown): boolean {
  return isUnauthenticated(error) && reasonOf(error) === STEP_UP;
}

/** Whether the same call may succeed later: the server is unavailable or busy, or the network failed. */
export function isTransient(error: unknown): boolean {
  const { code } = ConnectError.from(error);
  // A response ended early. The status code depends on where the connection broke.
  if (reasonOf(error) === "RESPONSE_CUT") return true;
  switch (code) {
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.Aborted:
      return true;
    case Code.ResourceExhausted:
      // A quota refills and has a retry delay; a limit, such as on conversations, has none.
      return retryDelayOf(error) !== undefined;
    case Code.Unknown:
    case Code.Internal:
      // Without a reason the status is not from Trellis: the connection failed, or ended during the response.
      return reasonOf(error) === "";
    default:
      return false;
  }
}
