// The page of the tests. Runs the scenario with a given client.

import { createTrellis } from "../../client/src/trellis";
import { connectGrpcWeb, connectJson, connectProto } from "./connect";
import { grpcWeb } from "./grpc-web";
import { protobufTs } from "./protobuf-ts";
import { type Client, callFromForbiddenOrigin, scenario } from "./scenario";
import type { ClientName } from "./window";

const clients: Record<ClientName, (gateway: string) => Client> = {
  "grpc-web, text": (gateway) => grpcWeb(gateway, "text"),
  "grpc-web, binary": (gateway) => grpcWeb(gateway, "binary"),
  "Connect-ES, gRPC-Web": connectGrpcWeb,
  "Connect-ES, Connect with protobuf": connectProto,
  "Connect-ES, Connect with JSON": connectJson,
  "protobuf-ts, text": (gateway) => protobufTs(gateway, "text"),
  "protobuf-ts, binary": (gateway) => protobufTs(gateway, "binary"),
};

window.trellis = {
  scenario: (name, gateway, script) => scenario(clients[name](gateway), script),
  callFromForbiddenOrigin: (name, gateway, script) => callFromForbiddenOrigin(clients[name](gateway), script),
  useSdk: async (baseUrl, { people }) => {
    const trellis = createTrellis({ baseUrl });
    await trellis.session.signUp(people.ada);
    await trellis.users.listUsers({});
  },
};
