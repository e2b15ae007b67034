// The public API of the SDK. Generated types are grouped by contract: auth, messaging, users.

export * as auth from "./gen/trellis/auth/v1/auth_pb.js";
export * as messaging from "./gen/trellis/messaging/v1/messaging_pb.js";
export * as users from "./gen/trellis/users/v1/users_pb.js";
export type { Browser, Channel, Exclusive, KeyValueStore } from "./browser.js";
export {
  isRefused,
  isSessionEnd,
  isTokenRefused,
  isTransient,
  isUnauthenticated,
  reasonOf,
  retryDelayOf,
  violationsOf,
} from "./errors.js";
export type { Cursors, FeedEvent } from "./feed.js";
export { type Outbox, OutboxFull } from "./outbox.js";
export type { Outgoing } from "./outbox-store.js";
export type { NewAccount, Session, SessionState, SignedOutCause } from "./session.js";
export { Timeline } from "./timeline.js";
export { createTrellis, type Trellis, type TrellisOptions } from "./trellis.js";
