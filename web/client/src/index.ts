// The public API of the SDK. Generated types are grouped by contract: `auth`, `messaging`, `users` and others.

export type { Browser, Channel, Exclusive, KeyValueStore } from "./browser.js";
export {
  isRefused,
  isSessionEnd,
  isStepUpRequired,
  isTokenRefused,
  isTransient,
  isUnauthenticated,
  reasonOf,
  retryDelayOf,
  violationsOf,
} from "./errors.js";
export type { Cursors, FeedEvent } from "./feed.js";
export * from "./gen/index.js";
export { type Outbox, OutboxFull } from "./outbox.js";
export type { Outgoing } from "./outbox-store.js";
export type { NewAccount, Session, SessionState, SignedOutCause } from "./session.js";
export { Timeline } from "./timeline.js";
export type { AskForProof } from "./transport.js";
export { createTrellis, type Trellis, type TrellisOptions } from "./trellis.js";
