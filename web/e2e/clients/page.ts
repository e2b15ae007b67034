// The page of the tests. Runs the scenarios with a given client.

import { createTrellis } from "../../client/src/trellis";
import { connect, connectProtocol, connectShop, grpcWebTransport, jsonTransport, protoTransport } from "./connect";
import { grpcWeb, grpcWebShop } from "./grpc-web";
import { protobufTs, protobufTsShop } from "./protobuf-ts";
import { type Client, callFromForbiddenOrigin, scenario } from "./scenario";
import { type ShopClient, shopScenario } from "./shop";
import type { ClientName } from "./window";

const clients: Record<ClientName, (gateway: string) => Client> = {
  "grpc-web, text": (gateway) => grpcWeb(gateway, "text"),
  "grpc-web, binary": (gateway) => grpcWeb(gateway, "binary"),
  "Connect-ES, gRPC-Web": (gateway) => connect(grpcWebTransport(gateway)),
  "Connect-ES, Connect with protobuf": (gateway) => connectProtocol(protoTransport(gateway)),
  "Connect-ES, Connect with JSON": (gateway) => connectProtocol(jsonTransport(gateway)),
  "protobuf-ts, text": (gateway) => protobufTs(gateway, "text"),
  "protobuf-ts, binary": (gateway) => protobufTs(gateway, "binary"),
};

const shopClients: Record<ClientName, (gateway: string) => ShopClient> = {
  "grpc-web, text": (gateway) => grpcWebShop(gateway, "text"),
  "grpc-web, binary": (gateway) => grpcWebShop(gateway, "binary"),
  "Connect-ES, gRPC-Web": (gateway) => connectShop(grpcWebTransport(gateway)),
  "Connect-ES, Connect with protobuf": (gateway) => connectShop(protoTransport(gateway)),
  "Connect-ES, Connect with JSON": (gateway) => connectShop(jsonTransport(gateway)),
  "protobuf-ts, text": (gateway) => protobufTsShop(gateway, "text"),
  "protobuf-ts, binary": (gateway) => protobufTsShop(gateway, "binary"),
};

window.trellis = {
  scenario: (name, gateway, script) => scenario(clients[name](gateway), script),
  shopScenario: (name, gateway, script) => shopScenario(shopClients[name](gateway), script),
  callFromForbiddenOrigin: (name, gateway, script) => callFromForbiddenOrigin(clients[name](gateway), script),
  useSdk: async (baseUrl, { people }) => {
    const trellis = createTrellis({ baseUrl });
    await trellis.session.signUp(people.ada);
    await trellis.users.listUsers({});
  },
};
