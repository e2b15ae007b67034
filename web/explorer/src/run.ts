// Sends operations to the gateway: one response, or the events of a subscription (graphql-sse).

/** An operation as it is sent. */
export interface Sent {
  readonly query: string;
  readonly operationName?: string | undefined;
  readonly variables?: unknown;
}

export interface GraphqlError {
  readonly message: string;
  readonly path?: readonly (string | number)[];
  readonly locations?: readonly { readonly line: number; readonly column: number }[];
  readonly extensions?: Readonly<Record<string, unknown>>;
}

export interface Result {
  readonly data?: unknown;
  readonly errors?: readonly GraphqlError[];
}

export interface RunOptions {
  readonly isSubscription: boolean;
  /** The value of the header `authorization`. */
  readonly authorization: string | undefined;
  readonly signal: AbortSignal;
}

const JSON_TYPE = "application/json";

/** The results of an operation. A failure that is none of GraphQL is thrown. */
export async function* run(sent: Sent, { isSubscription, authorization, signal }: RunOptions): AsyncGenerator<Result> {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: isSubscription ? "text/event-stream" : JSON_TYPE,
      ...(authorization === undefined ? {} : { authorization }),
    },
    body: JSON.stringify(sent),
    signal,
  });
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("text/event-stream") && response.body !== null) {
    yield* events(response.body);
  } else if (type.includes("json")) {
    yield (await response.json()) as Result;
  } else {
    throw new Error(`HTTP ${response.status}: ${(await response.text()).trim() || response.statusText}`);
  }
}

async function* events(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Result> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The connection was cut off.");
    const parts = (text + value).split("\n\n");
    text = parts.pop() ?? "";
    for (const event of parts) {
      if (event.startsWith("event: complete")) return;
      const data = /^data: (.*)$/m.exec(event)?.[1];
      if (data !== undefined) yield JSON.parse(data) as Result;
    }
  }
}
