// One scenario for every client with a service that knows nothing of Trellis: tests/python/shop.py, a server of grpcio.
// upstream.json defines its values and the expected results; tests/python/shop_scenario.py runs the same file.

import type { Metadata, Refusal } from "./scenario.js";

export const SHOP = "acme.shop.v1.Shop";

export type Note = { text: string; count: number };

/** The response to a unary call, with its metadata. */
export interface Reply {
  readonly note: Note;
  readonly headers: Metadata;
  readonly trailers: Metadata;
}

/** The calls of the scenario, by the names of their methods. */
export interface ShopClient {
  unary(method: "Echo" | "Show", note: Note, metadata: Metadata): Promise<Reply>;
  stream(method: "Repeat" | "Refuse", note: Note, options: ShopOptions): AsyncIterable<Note>;
  /** Converts the error of a failed call. Rethrows other errors. */
  refusal(error: unknown): Refusal;
}

export interface ShopOptions {
  readonly metadata?: Metadata;
  /** The client's own deadline. */
  readonly deadlineMs?: number;
}

/** The content of upstream.json. */
export interface ShopScript {
  readonly text: string;
  readonly metadata: string;
  /** The base64 of a value of binary metadata. */
  readonly binary: string;
  readonly observations: Awaited<ReturnType<typeof shopScenario>>;
}

const LATE_MS = 300;

type Values = Omit<ShopScript, "observations">;

export async function shopScenario(client: ShopClient, { text, metadata, binary }: Values) {
  const trailing = { "x-trailing": metadata, "x-trailing-bin": binary };
  const sent = { "x-initial": metadata, "x-initial-bin": binary, ...trailing };
  const { note, headers, trailers } = await client.unary("Echo", { text, count: 0 }, sent);
  const shown = await client.unary("Show", { text: "", count: 0 }, { "x-sent": metadata });
  const { messages: repeated } = await read(client, client.stream("Repeat", { text, count: 3 }, {}));
  const failure = await read(client, client.stream("Refuse", { text, count: 0 }, { metadata: trailing }));
  const failureInStream = await read(client, client.stream("Refuse", { text, count: 2 }, {}));
  // The service would take 50 s.
  const late = await read(client, client.stream("Repeat", { text: "slowly", count: 1000 }, { deadlineMs: LATE_MS }));
  return {
    echo: { text: note.text, headers: pick(headers, "x-initial"), trailers: pick(trailers, "x-trailing") },
    received: /^x-sent: (.*)$/m.exec(shown.note.text)?.[1],
    stream: repeated.map(({ count }) => count),
    failure: { ...brief(failure.refusal), metadata: pick(failure.refusal?.metadata, "x-trailing") },
    failureInStream: { messages: failureInStream.messages.length, ...brief(failureInStream.refusal) },
    late: late.refusal?.code,
  };
}

/** The values of `name` and `name-bin`, without the padding of base64. */
function pick(metadata: Metadata | undefined, name: string) {
  return [metadata?.[name], metadata?.[`${name}-bin`]?.replace(/=+$/, "")];
}

/** Reads a stream to its end. */
async function read(client: ShopClient, stream: AsyncIterable<Note>) {
  const messages: Note[] = [];
  try {
    for await (const note of stream) messages.push(note);
    return { messages };
  } catch (error) {
    return { messages, refusal: client.refusal(error) };
  }
}

function brief(refusal: Refusal | undefined) {
  if (!refusal) throw new Error("the call was not refused");
  const { code, message, detail, reason } = refusal;
  return { code, message, detail, reason };
}
