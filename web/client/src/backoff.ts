// Waiting between attempts: exponential with full jitter, so that clients which lost the same server do not
// come back in step.

import { retryDelayOf } from "./errors.js";

export interface BackoffOptions {
  /** The longest first wait. */
  readonly firstMs?: number;
  /** The longest wait of all. */
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

  /** How long to wait before the next attempt. */
  next(): number {
    const ceiling = Math.min(this.#capMs, this.#firstMs * 2 ** this.#attempts);
    this.#attempts += 1;
    return this.#random() * ceiling;
  }

  /** Something succeeded: the next failure is a first one. */
  reset(): void {
    this.#attempts = 0;
  }
}

/** Ends after `ms`, or as soon as `signal` is aborted. */
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

/** Waits before the next attempt after `error`: as long as the server asked, else as the backoff says. */
export async function waitAfter(error: unknown, backoff: Backoff, signal?: AbortSignal): Promise<void> {
  const asked = retryDelayOf(error);
  if (asked !== undefined) return sleep(asked + backoff.next(), signal);
  // When the network returns, or the page is looked at again, waiting on is no use.
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
