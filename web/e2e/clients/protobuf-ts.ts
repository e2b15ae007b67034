// protobuf-ts, with its own generated types and clients, on its gRPC-Web transport.

import { type GrpcWebOptions, GrpcWebFetchTransport } from "@protobuf-ts/grpcweb-transport";
import { MessageType, ScalarType } from "@protobuf-ts/runtime";
import { type MethodInfo, RpcError, type RpcMetadata, type RpcOptions, ServiceType } from "@protobuf-ts/runtime-rpc";

import { detailsOf } from "./details";
import { SignInRequest, SignUpRequest } from "./gen/trellis/auth/v1/auth";
import { AuthServiceClient } from "./gen/trellis/auth/v1/auth.client";
import {
  CreateConversationRequest,
  type Entry,
  ListMessagesRequest,
  SubscribeRequest,
} from "./gen/trellis/messaging/v1/messaging";
import { MessagingServiceClient } from "./gen/trellis/messaging/v1/messaging.client";
import { ListUsersRequest } from "./gen/trellis/users/v1/users";
import { UsersServiceClient } from "./gen/trellis/users/v1/users.client";
import type { Client, Metadata, ChatMessage, Refusal } from "./scenario";
import { type Note, SHOP, type ShopClient } from "./shop";

export function protobufTs(baseUrl: string, format: NonNullable<GrpcWebOptions["format"]>): Client {
  const transport = new GrpcWebFetchTransport({ baseUrl, format });
  const auth = new AuthServiceClient(transport);
  const users = new UsersServiceClient(transport);
  const messaging = new MessagingServiceClient(transport);
  return {
    isLive: true,
    signUp: (request, metadata) => auth.signUp(SignUpRequest.create(request), meta(metadata)).response,
    signIn: (request, metadata) => auth.signIn(SignInRequest.create(request), meta(metadata)).response,
    listUsers: (request, metadata) => users.listUsers(ListUsersRequest.create(request), meta(metadata)).response,
    getUser: (request, metadata) => users.getUser(request, meta(metadata)).response,
    createConversation: (request, metadata) =>
      messaging.createConversation(CreateConversationRequest.create(request), meta(metadata)).response,
    sendMessage: async (request, metadata) =>
      chatMessageOf((await messaging.sendMessage(request, meta(metadata)).response).entry),
    listMessages: async (request, metadata) =>
      (await messaging.listMessages(ListMessagesRequest.create(request), meta(metadata)).response).entries
        .filter(({ body }) => body.oneofKind === "message")
        .map(chatMessageOf),
    async *subscribe(request, metadata, { deadlineMs: timeout, signal: abort }) {
      const options = { ...meta(metadata), ...(timeout && { timeout }), ...(abort && { abort }) };
      for await (const { event } of messaging.subscribe(SubscribeRequest.create(request), options).responses) {
        if (event.oneofKind === "caughtUp") yield { kind: "caughtUp" };
        else if (event.oneofKind === "entry") yield { kind: "message", message: chatMessageOf(event.entry.entry) };
        else yield { kind: "other" };
      }
    },
    refusal,
  };
}

const NoteType = new MessageType<Note>("acme.shop.v1.Note", [
  { no: 1, name: "text", kind: "scalar", T: ScalarType.STRING },
  { no: 2, name: "count", kind: "scalar", T: ScalarType.INT32 },
]);

const Shop = new ServiceType(SHOP, [
  { name: "Echo", options: {}, I: NoteType, O: NoteType },
  { name: "Show", options: {}, I: NoteType, O: NoteType },
  { name: "Repeat", serverStreaming: true, options: {}, I: NoteType, O: NoteType },
  { name: "Refuse", serverStreaming: true, options: {}, I: NoteType, O: NoteType },
]);

export function protobufTsShop(baseUrl: string, format: NonNullable<GrpcWebOptions["format"]>): ShopClient {
  const transport = new GrpcWebFetchTransport({ baseUrl, format });
  const method = (name: string): MethodInfo<Note, Note> => {
    const found = Shop.methods.find((method) => method.name === name);
    if (!found) throw new Error(`${SHOP} has no method ${name}`);
    return found as MethodInfo<Note, Note>;
  };
  return {
    async unary(name, note, metadata) {
      const call = await transport.unary(method(name), note, transport.mergeOptions(meta(metadata)));
      return { note: call.response, headers: texts(call.headers), trailers: texts(call.trailers) };
    },
    async *stream(name, note, { metadata = {}, deadlineMs: timeout }) {
      const options = transport.mergeOptions({ ...meta(metadata), ...(timeout && { timeout }) });
      yield* transport.serverStreaming(method(name), note, options).responses;
    },
    refusal,
  };
}

function refusal(error: unknown): Refusal {
  if (!(error instanceof RpcError)) throw error;
  return {
    code: error.code,
    // This runtime does not decode the message.
    message: decodeURIComponent(error.message),
    metadata: texts(error.meta),
    ...detailsOf(error.meta["grpc-status-details-bin"]),
  };
}

/** Metadata in which each name has one value. */
function texts(metadata: RpcMetadata): Metadata {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, String(value)]));
}

function meta(metadata: Metadata): RpcOptions {
  return { meta: { ...metadata } };
}

function chatMessageOf(entry: Entry | undefined): ChatMessage {
  if (entry?.body.oneofKind !== "message") throw new Error("no message came");
  return { seq: Number(entry.seq), text: entry.body.message.text };
}
