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
import { publicTransport, signedInTransport } from "./transport.js";

export interface TrellisOptions {
  /** Where the gateway is, such as `https://chat.example.com`. */
  readonly baseUrl: string;
  /** The browser's storage, locks and channels; tests pass their own. */
  readonly browser?: Browser;
}

export interface Trellis {
  readonly session: Session;
  /** Where the SDK keeps what must survive a reload. */
  readonly store: KeyValueStore;
  /** Calls a service of your own, or any service behind the gateway, on the same session. */
  client<S extends DescService>(service: S): Client<S>;
  /** What a signed-in user does with the account and its sessions. Signing in and out is the session's. */
  readonly auth: Client<typeof AuthService>;
  readonly users: Client<typeof UsersService>;
  readonly messaging: Client<typeof MessagingService>;
  /** The messages that `userId` writes. One outbox a user and page. */
  outbox(userId: string): Outbox;
  /** What happens in the user's conversations from `cursors` on, until `signal` is aborted or the session ends. */
  follow(cursors: Cursors, signal: AbortSignal): AsyncIterable<FeedEvent>;
}

export function createTrellis({ baseUrl, browser = thisBrowser() }: TrellisOptions): Trellis {
  const session = new Session(createClient(AuthService, publicTransport(baseUrl)), browser);
  const transport = signedInTransport(baseUrl, session);
  const messaging = createClient(MessagingService, transport);
  return {
    session,
    store: browser.store,
    client: (service) => createClient(service, transport),
    messaging,
    auth: createClient(AuthService, transport),
    users: createClient(UsersService, transport),
    outbox: (userId) => new Outbox({ userId, store: browser.store, send: sendThrough(messaging) }),
    follow: (cursors, signal) => follow({ messaging, session }, cursors, signal),
  };
}

function sendThrough(messaging: Client<typeof MessagingService>): ConstructorParameters<typeof Outbox>[0]["send"] {
  // However often a message is sent, it is one trace.
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
