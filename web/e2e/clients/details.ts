// The error details in `grpc-status-details-bin`, which neither grpc-web nor protobuf-ts parses.

import { fromBinary } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { base64decode } from "@protobuf-ts/runtime";

import { Any } from "./gen/google/protobuf/any";
import { BadRequest, ErrorInfo } from "./gen/google/rpc/error_details";
import { Status } from "./gen/google/rpc/status";
import type { Refusal } from "./scenario.js";

export function detailsOf(metadata: unknown): Pick<Refusal, "reason" | "fields" | "detail"> {
  const { details } = Status.fromBinary(base64decode(typeof metadata === "string" ? metadata : ""));
  const info = details.find((detail) => Any.contains(detail, ErrorInfo));
  const request = details.find((detail) => Any.contains(detail, BadRequest));
  const text = details.find(({ typeUrl }) => typeUrl.endsWith(`/${StringValueSchema.typeName}`));
  return {
    reason: info ? Any.unpack(info, ErrorInfo).reason : "",
    fields: request ? Any.unpack(request, BadRequest).fieldViolations.map(({ field }) => field) : [],
    detail: text ? fromBinary(StringValueSchema, text.value).value : "",
  };
}
