// Test doubles.

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { Backoff } from "../src/backoff.js";
import type { KeyValueStore } from "../src/browser.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { type Entry, EntrySchema } from "../src/gen/trellis/messaging/v1/messaging_pb.js";

export class MemoryStore implements KeyValueStore {
  readonly #values = new Map<string, string>();

  keys(): string[] {
    return [...this.#values.keys()];
  }

  get(key: string): string | null {
    return this.#values.get(key) ?? null;
  }

  set(key: string, value: string): void {
    this.#values.set(key, value);
  }

  remove(key: string): void {
    this.#values.delete(key);
  }
}

export function entry(conversationId: string, seq: number, text = ""): Entry {
  const body = { case: "message", value: { text } } as const;
  return create(EntrySchema, { conversationId, seq: BigInt(seq), body });
}

/** An error as a Trellis server sends it. */
export function refusal(code: Code, reason: string): ConnectError {
  return new ConnectError("refused", code, undefined, [{ desc: ErrorInfoSchema, value: { reason } }]);
}

/** The error of a browser's fetch when the connection is refused. */
export function networkFailure(): ConnectError {
  return ConnectError.from(new TypeError("Failed to fetch"));
}

export function impatient(): Backoff {
  return new Backoff({ firstMs: 1, capMs: 1 });
}

/** Waits until `condition` holds; the test's own time limit bounds it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}
