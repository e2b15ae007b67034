// What the page offers to the tests.

import type { Observations, Refusal } from "./scenario.js";

export const CLIENTS = [
  "grpc-web, text",
  "grpc-web, binary",
  "Connect-ES",
  "protobuf-ts, text",
  "protobuf-ts, binary",
] as const;

export type ClientName = (typeof CLIENTS)[number];

declare global {
  interface Window {
    trellis: {
      scenario(client: ClientName, gateway: string): Promise<Observations>;
      knock(client: ClientName, gateway: string): Promise<Refusal[]>;
    };
  }
}
