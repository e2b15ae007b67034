// Waits between attempts: exponential backoff with full jitter, so that clients which lost the same server do not
// reconnect at the same moment.

import { retryDelayOf } from "./errors.js";

export interface BackoffOptions {
  /** The maximum of the first wait. */
  readonly firstMs?: number;
  /** The maximum of any wait. */
  readonly capMs?: number;
  /** A number from 0 to 1. */
  readonly random?: () => number;
}

export class Backoff {
  readonly #firstMs: number;
  readonly #capMs: number;
  readonly #random: () => number;
  #attempts = 0;

  constructor({ firstMs = 400, capMs = 8_000, random = Math.random }: BackoffOptions = {}) {
    this.#firstMs = firstMs;
    this.#capMs = capMs;
    this.#random = random;
  }

  /** Returns how long to wait before the next attempt, in milliseconds. */
  next(): number {
    const ceiling = Math.min(this.#capMs, this.#firstMs * 2 ** this.#attempts);
    this.#attempts += 1;
    return this.#random() * ceiling;
  }

  /** Starts again with the first wait, after a success. */
  reset(): void {
    this.#attempts = 0;
  }
}

/** Resolves after `ms`, or when `signal` is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
}

/** Waits before the next attempt after `error`: the server's retry delay plus jitter, otherwise the backoff. */
export async function waitAfter(error: unknown, backoff: Backoff, signal?: AbortSignal): Promise<void> {
  const asked = retryDelayOf(error);
  if (asked !== undefined) return sleep(asked + backoff.next(), signal);
  // The wait ends early when the network returns or the page becomes visible.
  const revived = new AbortController();
  const end = () => revived.abort();
  const stopListening = onRevival(end);
  signal?.addEventListener("abort", end);
  await sleep(signal?.aborted ? 0 : backoff.next(), revived.signal);
  signal?.removeEventListener("abort", end);
  stopListening();
}

function onRevival(callback: () => void): () => void {
  if (typeof document === "undefined") return () => {};
  const visible = () => document.visibilityState === "visible" && callback();
  window.addEventListener("online", callback);
  document.addEventListener("visibilitychange", visible);
  return () => {
    window.removeEventListener("online", callback);
    document.removeEventListener("visibilitychange", visible);
  };
}
