// Connect-ES with its transports, without the SDK's interceptors.

import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

import { reasonOf, violationsOf } from "../../client/src/errors.js";
import { AuthService } from "../../client/src/gen/trellis/auth/v1/auth_pb.js";
import { MessagingService } from "../../client/src/gen/trellis/messaging/v1/messaging_pb.js";
import { UsersService } from "../../client/src/gen/trellis/users/v1/users_pb.js";
import { chatMessageOf, chatMessagesOf, eventOf } from "./messages.js";
import type { Client, Refusal } from "./scenario.js";
import type { ShopClient } from "./shop.js";
import { streamingMethod, unaryMethod } from "./shop-contract.js";

export const grpcWebTransport = (baseUrl: string): Transport => createGrpcWebTransport({ baseUrl });

/** Calls methods without side effects with GET. */
export const protoTransport = (baseUrl: string): Transport =>
  createConnectTransport({ baseUrl, useBinaryFormat: true, useHttpGet: true });

export const jsonTransport = (baseUrl: string): Transport => createConnectTransport({ baseUrl });

/** A client of the Connect protocol, with its header of a short timeout. */
export const connectProtocol = (transport: Transport): Client => ({
  ...connect(transport),
  shortTimeout: { "connect-timeout-ms": "1" },
});

export function connect(transport: Transport): Client {
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
    refusal,
  };
}

export function connectShop(transport: Transport): ShopClient {
  return {
    async unary(name, note, metadata) {
      const { message, header, trailer } = await transport.unary(unaryMethod(name), undefined, undefined, metadata, note);
      return { note: message, headers: Object.fromEntries(header), trailers: Object.fromEntries(trailer) };
    },
    async *stream(name, note, { metadata, deadlineMs }) {
      const request = (async function* () {
        yield note;
      })();
      const { message } = await transport.stream(streamingMethod(name), undefined, deadlineMs, metadata, request);
      yield* message;
    },
    refusal,
  };
}

function refusal(error: unknown): Refusal {
  if (!(error instanceof ConnectError)) throw error;
  return {
    code: Code[error.code].replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase(),
    message: error.rawMessage,
    reason: reasonOf(error),
    fields: [...violationsOf(error).keys()],
    detail: error.findDetails(StringValueSchema)[0]?.value ?? "",
    metadata: Object.fromEntries(error.metadata),
  };
}
