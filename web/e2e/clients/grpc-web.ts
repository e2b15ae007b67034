// The official `grpc-web` runtime. Its generator downloads a binary at install, so this file creates the method
// descriptors by hand, with the SDK's generated types.

import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  type ClientReadableStream,
  GrpcWebClientBase,
  MethodDescriptor,
  MethodType,
  RpcError,
  StatusCode,
} from "grpc-web";

import { AuthService } from "../../client/src/gen/trellis/auth/v1/auth_pb.js";
import { MessagingService } from "../../client/src/gen/trellis/messaging/v1/messaging_pb.js";
import { UsersService } from "../../client/src/gen/trellis/users/v1/users_pb.js";
import { detailsOf } from "./details";
import { chatMessageOf, chatMessagesOf, eventOf } from "./messages.js";
import type { Client, Metadata, Refusal } from "./scenario.js";
import type { ShopClient } from "./shop.js";
import { streamingMethod, unaryMethod } from "./shop-contract.js";

export function grpcWeb(baseUrl: string, format: "text" | "binary"): Client {
  const runtime = new GrpcWebClientBase({ format });

  function unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    metadata: Metadata,
  ): Promise<MessageShape<O>> {
    const descriptor = describe<I, O>(method, MethodType.UNARY);
    const message = create(method.input, request);
    return runtime.unaryCall(baseUrl + descriptor.getName(), message, { ...metadata }, descriptor);
  }

  return {
    // In the binary format this runtime reads a stream only when it has ended, because XMLHttpRequest provides an
    // ArrayBuffer only then.
    isLive: format === "text",
    signUp: (request, metadata) => unary(AuthService.method.signUp, request, metadata),
    signIn: (request, metadata) => unary(AuthService.method.signIn, request, metadata),
    listUsers: (request, metadata) => unary(UsersService.method.listUsers, request, metadata),
    getUser: (request, metadata) => unary(UsersService.method.getUser, request, metadata),
    createConversation: (request, metadata) => unary(MessagingService.method.createConversation, request, metadata),
    sendMessage: async (request, metadata) =>
      chatMessageOf((await unary(MessagingService.method.sendMessage, request, metadata)).entry),
    listMessages: async (request, metadata) =>
      chatMessagesOf((await unary(MessagingService.method.listMessages, request, metadata)).entries),
    async *subscribe(request, metadata, { deadlineMs, signal }) {
      const method = MessagingService.method.subscribe;
      const descriptor = describe(method, MethodType.SERVER_STREAMING);
      const stream = runtime.serverStreaming(
        baseUrl + descriptor.getName(),
        create(method.input, request),
        { ...metadata, ...(deadlineMs && { deadline: String(Date.now() + deadlineMs) }) },
        descriptor,
      );
      signal?.addEventListener("abort", () => stream.cancel());
      for await (const response of read(stream)) yield eventOf(response);
    },
    refusal,
  };
}

export function grpcWebShop(baseUrl: string, format: "text" | "binary"): ShopClient {
  const runtime = new GrpcWebClientBase({ format });
  return {
    unary(name, note, metadata) {
      const method = unaryMethod(name);
      const descriptor = describe(method, MethodType.UNARY);
      const url = baseUrl + descriptor.getName();
      return new Promise((resolve, reject) => {
        let headers: Metadata = {};
        let trailers: Metadata = {};
        // Called after both events.
        const call = runtime.rpcCall(url, create(method.input, note), { ...metadata }, descriptor, (error, message) => {
          if (error) reject(error);
          else resolve({ note: message, headers, trailers });
        });
        call.on("metadata", (received) => (headers = received));
        call.on("status", ({ metadata: received = {} }) => (trailers = received));
      });
    },
    async *stream(name, note, { metadata, deadlineMs }) {
      const method = streamingMethod(name);
      const descriptor = describe(method, MethodType.SERVER_STREAMING);
      const stream = runtime.serverStreaming(
        baseUrl + descriptor.getName(),
        create(method.input, note),
        { ...metadata, ...(deadlineMs && { deadline: String(Date.now() + deadlineMs) }) },
        descriptor,
      );
      yield* read(stream);
    },
    refusal,
  };
}

function refusal(error: unknown): Refusal {
  if (!(error instanceof RpcError)) throw error;
  const [code = ""] = Object.entries(StatusCode).find(([, number]) => number === error.code) ?? [];
  const { message, metadata } = error;
  return { code, message, metadata, ...detailsOf(metadata["grpc-status-details-bin"]) };
}

function describe<I extends DescMessage, O extends DescMessage>(
  { parent, name, input, output }: DescMethodUnary<I, O> | DescMethodServerStreaming<I, O>,
  kind: string,
): MethodDescriptor<MessageShape<I>, MessageShape<O>> {
  // Only generated code uses the classes; the runtime does not.
  const noClass = Object as unknown as new () => never;
  return new MethodDescriptor<MessageShape<I>, MessageShape<O>>(
    `/${parent.typeName}/${name}`,
    kind,
    noClass,
    noClass,
    (message: MessageShape<I>) => toBinary(input, message),
    (bytes: Uint8Array) => fromBinary(output, bytes),
  );
}

/** Converts the runtime's callbacks to an iterator. A stream that the client cancels yields no more events. */
async function* read<T>(stream: ClientReadableStream<T>): AsyncGenerator<T> {
  const steps: (() => IteratorResult<T, undefined>)[] = [];
  let wake = () => {};
  const push = (step: () => IteratorResult<T, undefined>) => {
    steps.push(step);
    wake();
  };
  stream.on("data", (value) => push(() => ({ done: false, value })));
  stream.on("end", () => push(() => ({ done: true, value: undefined })));
  stream.on("error", (error) =>
    push(() => {
      throw error;
    }),
  );
  for (;;) {
    const next = steps.shift()?.();
    if (next?.done) return;
    if (next) yield next.value;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
}
