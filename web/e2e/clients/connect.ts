// Connect-ES with its transports, without the SDK's interceptors.

import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { reasonOf, violationsOf } from "../../client/src/errors.js";
import { AuthService } from "../../client/src/gen/trellis/auth/v1/auth_pb.js";
import { MessagingService } from "../../client/src/gen/trellis/messaging/v1/messaging_pb.js";
import { UsersService } from "../../client/src/gen/trellis/users/v1/users_pb.js";
import { chatMessageOf, chatMessagesOf, eventOf } from "./messages.js";
import type { Client } from "./scenario.js";

export const connectGrpcWeb = (baseUrl: string): Client => connect(createGrpcWebTransport({ baseUrl }));

/** Calls methods without side effects with GET. */
export const connectProto = (baseUrl: string): Client => ({
  ...connect(createConnectTransport({ baseUrl, useBinaryFormat: true, useHttpGet: true })),
  shortTimeout: { "connect-timeout-ms": "1" },
});

export const connectJson = (baseUrl: string): Client => ({
  ...connect(createConnectTransport({ baseUrl })),
  shortTimeout: { "connect-timeout-ms": "1" },
});

function connect(transport: Transport): Client {
  const auth = createClient(AuthService, transport);
  const users = createClient(UsersService, transport);
  const messaging = createClient(MessagingService, transport);
  return {
    isLive: true,
    signUp: (request, headers) => auth.signUp(request, { headers }),
    signIn: (request, headers) => auth.signIn(request, { headers }),
    listUsers: (request, headers) => users.listUsers(request, { headers }),
    getUser: (request, headers) => users.getUser(request, { headers }),
    createConversation: (request, headers) => messaging.createConversation(request, { headers }),
    sendMessage: async (request, headers) => chatMessageOf((await messaging.sendMessage(request, { headers })).entry),
    listMessages: async (request, headers) => chatMessagesOf((await messaging.listMessages(request, { headers })).entries),
    async *subscribe(request, headers, { deadlineMs: timeoutMs, signal }) {
      for await (const event of messaging.subscribe(request, {
        headers,
        ...(timeoutMs && { timeoutMs }),
        ...(signal && { signal }),
      })) {
        yield eventOf(event);
      }
    },
    refusal: (error) => {
      if (!(error instanceof ConnectError)) throw error;
      return {
        code: Code[error.code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase(),
        message: error.rawMessage,
        reason: reasonOf(error),
        fields: [...violationsOf(error).keys()],
      };
    },
  };
}
