// The functions of the page for the tests.

import type { Refusal, Script } from "./scenario.js";
import type { ShopScript } from "./shop.js";

export const CLIENTS = [
  "grpc-web, text",
  "grpc-web, binary",
  "Connect-ES, gRPC-Web",
  "Connect-ES, Connect with protobuf",
  "Connect-ES, Connect with JSON",
  "protobuf-ts, text",
  "protobuf-ts, binary",
] as const;

export type ClientName = (typeof CLIENTS)[number];

declare global {
  interface Window {
    trellis: {
      scenario(client: ClientName, gateway: string, script: Script): Promise<Pick<Script, "steps" | "observations">>;
      shopScenario(client: ClientName, gateway: string, script: ShopScript): Promise<ShopScript["observations"]>;
      callFromForbiddenOrigin(client: ClientName, gateway: string, script: Script): Promise<Refusal[]>;
      /** Signs up with the SDK, and makes a public call and one with the token. */
      useSdk(gateway: string, script: Script): Promise<void>;
    };
  }
}
