// The contract of the shop for the clients that use protobuf-es: the part of tests/python/shop.proto that they call.

import {
  create,
  createFileRegistry,
  type DescMethod,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type Message,
} from "@bufbuild/protobuf";
import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  MethodOptions_IdempotencyLevel as Idempotency,
} from "@bufbuild/protobuf/wkt";

import { type Note, SHOP } from "./shop.js";

/** The message in both directions. */
type NoteType = GenMessage<Message<"acme.shop.v1.Note"> & Note>;

const [, PACKAGE, NAME] = /^(.*)\.(.*)$/.exec(SHOP) ?? [];
const inputType = `.${PACKAGE}.Note`;
const outputType = inputType;
const label = Label.OPTIONAL;

const file = create(FileDescriptorProtoSchema, {
  name: "shop.proto",
  package: PACKAGE!,
  syntax: "proto3",
  messageType: [
    {
      name: "Note",
      field: [
        { name: "text", jsonName: "text", number: 1, type: Type.STRING, label },
        { name: "count", jsonName: "count", number: 2, type: Type.INT32, label },
      ],
    },
  ],
  service: [
    {
      name: NAME!,
      method: [
        { name: "Echo", inputType, outputType },
        { name: "Show", inputType, outputType, options: { idempotencyLevel: Idempotency.NO_SIDE_EFFECTS } },
        { name: "Repeat", inputType, outputType, serverStreaming: true },
        { name: "Refuse", inputType, outputType, serverStreaming: true },
      ],
    },
  ],
});

const service = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] })).getService(SHOP);

export function unaryMethod(name: string): DescMethodUnary<NoteType, NoteType> {
  const method = find(name);
  if (method.methodKind !== "unary") throw new Error(`${name} is no unary method`);
  return method as DescMethodUnary<NoteType, NoteType>;
}

export function streamingMethod(name: string): DescMethodServerStreaming<NoteType, NoteType> {
  const method = find(name);
  if (method.methodKind !== "server_streaming") throw new Error(`${name} is no stream`);
  return method as DescMethodServerStreaming<NoteType, NoteType>;
}

function find(name: string): DescMethod {
  const method = service?.methods.find((method) => method.name === name);
  if (!method) throw new Error(`${SHOP} has no method ${name}`);
  return method;
}
