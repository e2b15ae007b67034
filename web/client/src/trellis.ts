// The entry point of the SDK.

import type { DescService } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";

import { type Browser, type KeyValueStore, thisBrowser } from "./browser.js";
import { type Cursors, type FeedEvent, follow } from "./feed.js";
import { AuthService } from "./gen/trellis/auth/v1/auth_pb.js";
import { MessagingService } from "./gen/trellis/messaging/v1/messaging_pb.js";
import { UsersService } from "./gen/trellis/users/v1/users_pb.js";
import { Outbox } from "./outbox.js";
import type { Outgoing } from "./outbox-store.js";
import { Session } from "./session.js";
import { newTrace } from "./trace.js";
import { type AskForProof, publicTransport, signedInTransport } from "./transport.js";

export interface TrellisOptions {
  /** The URL of the gateway, such as `https://chat.example.com`. */
  readonly baseUrl: string;
  /** The browser's storage, locks and channels; tests pass their own. */
  readonly browser?: Browser;
  /** Asks for the password when a call needs a recent proof of who the user is, so that the SDK can repeat the call. */
  readonly askForProof?: AskForProof;
}

export interface Trellis {
  readonly session: Session;
  /** The storage for state that survives a reload. */
  readonly store: KeyValueStore;
  /** Calls a service of your own, or any service behind the gateway, on the same session. */
  client<S extends DescService>(service: S): Client<S>;
  /** Account and session calls of a signed-in user. `session` signs in and out. */
  readonly auth: Client<typeof AuthService>;
  /** Account calls that need no session: those of the links in e-mails. */
  readonly publicAuth: Client<typeof AuthService>;
  readonly users: Client<typeof UsersService>;
  readonly messaging: Client<typeof MessagingService>;
  /** The outbox of `userId`. Create one per user and page. */
  outbox(userId: string): Outbox;
  /** The events of the user's conversations after `cursors`, until `signal` is aborted or the session ends. */
  follow(cursors: Cursors, signal: AbortSignal): AsyncIterable<FeedEvent>;
}

export function createTrellis({ baseUrl, browser = thisBrowser(), askForProof }: TrellisOptions): Trellis {
  const publicAuth = createClient(AuthService, publicTransport(baseUrl));
  const session = new Session(publicAuth, browser);
  const transport = signedInTransport(baseUrl, session, askForProof);
  const messaging = createClient(MessagingService, transport);
  return {
    session,
    store: browser.store,
    client: (service) => createClient(service, transport),
    messaging,
    auth: createClient(AuthService, transport),
    publicAuth,
    users: createClient(UsersService, transport),
    outbox: (userId) => new Outbox({ userId, store: browser.store, send: sendThrough(messaging) }),
    follow: (cursors, signal) => follow({ messaging, session }, cursors, signal),
  };
}

function sendThrough(messaging: Client<typeof MessagingService>): ConstructorParameters<typeof Outbox>[0]["send"] {
  // All attempts to send a message belong to one trace.
  const traces = new WeakMap<Outgoing, ReturnType<typeof newTrace>>();
  return async (message, signal) => {
    const { conversationId, clientMessageId, text } = message;
    const headers = traces.get(message) ?? newTrace();
    traces.set(message, headers);
    const { entry } = await messaging.sendMessage({ conversationId, clientMessageId, text }, { signal, headers });
    if (!entry) throw new ConnectError("the response has no entry", Code.DataLoss);
    return entry;
  };
}
