// One scenario for every client: two users sign up, chat, and get each kind of error that a client must parse. Returns
// the steps and observations as plain data. scenario.json defines the users, the steps and the expected results;
// tests/python/chat_scenario.py runs the same file.

/** The calls of the scenario, with the names that every generator gives to the contract's fields. */
export interface Client {
  /** Whether the client delivers the messages of a stream one by one, or all at its end. */
  readonly isLive: boolean;
  /** The header with a timeout of one millisecond; `grpc-timeout` unless it is set. */
  readonly shortTimeout?: Record<string, string>;
  signUp(request: Account, metadata: Metadata): Promise<SignedIn>;
  signIn(request: { email: string; password: string }, metadata: Metadata): Promise<SignedIn>;
  listUsers(request: { query: string }, metadata: Metadata): Promise<{ users: User[] }>;
  getUser(request: { userId: string }, metadata: Metadata): Promise<{ user?: User | undefined }>;
  createConversation(
    request: { requestId: string; memberIds: string[] },
    metadata: Metadata,
  ): Promise<{ conversation?: Position | undefined }>;
  sendMessage(request: Draft, metadata: Metadata): Promise<ChatMessage>;
  listMessages(request: { conversationId: string }, metadata: Metadata): Promise<ChatMessage[]>;
  subscribe(request: { positions: Position[] }, metadata: Metadata, options: StreamOptions): AsyncIterable<Event>;
  /** Converts the error of a failed call. Rethrows other errors. */
  refusal(error: unknown): Refusal;
}

export type Metadata = Readonly<Record<string, string>>;

export interface Account {
  email: string;
  password: string;
  handle: string;
  displayName: string;
}

interface SignedIn {
  tokens?: { userId: string; accessToken: string } | undefined;
}

interface User {
  userId: string;
  handle: string;
  displayName: string;
}

interface Position {
  conversationId: string;
  cursor: string;
}

interface Draft {
  conversationId: string;
  clientMessageId: string;
  text: string;
}

/** The sequence number and text of a message. */
export interface ChatMessage {
  readonly seq: number;
  readonly text: string;
}

export type Event = { kind: "caughtUp" } | { kind: "message"; message: ChatMessage } | { kind: "other" };

/** The client's own deadline and cancellation. */
export interface StreamOptions {
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
  /** From google.rpc.ErrorInfo; empty when the error is not from a Trellis server. */
  readonly reason: string;
  /** From google.rpc.BadRequest. */
  readonly fields: readonly string[];
  /** From google.protobuf.StringValue. */
  readonly detail: string;
  /** The headers and trailers of the response. */
  readonly metadata: Metadata;
}

/** The content of scenario.json. */
export interface Script {
  readonly people: { readonly ada: Account; readonly bob: Account };
  /** Texts by name, with characters of one to four bytes. The last has the maximum length, 16 KiB. */
  readonly texts: Readonly<Record<string, { text: string; times: number; end: string }>>;
  /** The calls in the order in which they end: user, method, and status. */
  readonly steps: readonly string[];
  readonly observations: Observations;
}

/** The `grpc-timeout` of a stream for a client that is not live. */
const NOT_LIVE = "3S";
const LATE_STREAM_MS = 1_000;
const PATIENCE_MS = 20_000;

export type Observations = Awaited<ReturnType<typeof observe>>;

export async function scenario(bare: Client, script: Script): Promise<Pick<Script, "steps" | "observations">> {
  const notes = new Notes();
  const observations = await observe(notes.taking(bare), notes, script);
  return { steps: notes.steps, observations };
}

async function observe(client: Client, notes: Notes, { people, texts }: Script) {
  const ada = await signUp(client, notes, people.ada);
  const bob = await signUp(client, notes, people.bob);
  const { email, password } = people.ada;
  const wrongPassword = await refused(client, client.signIn({ email, password: "wrong password" }, {}));
  const again = (await client.signIn({ email, password }, {})).tokens;
  const { users } = await client.listUsers({ query: people.bob.handle }, ada.metadata);
  const { user } = await client.getUser({ userId: bob.id }, ada.metadata);
  return {
    wrongPassword: brief(wrongPassword),
    // Percent-encoded on the wire, spaces included.
    message: wrongPassword.message,
    isSameAccount: again?.userId === ada.id,
    found: users.map(({ handle }) => handle),
    displayName: user?.displayName,
    withoutToken: brief(await refused(client, client.listUsers({ query: "" }, {}))),
    streamWithoutToken: brief(await refused(client, drain(client.subscribe({ positions: [] }, {}, {})))),
    // The header is set by hand, so that the server ends the call, and not the client.
    lateCall: brief(await refused(client, client.signIn({ email, password }, client.shortTimeout ?? { "grpc-timeout": "1m" }))),
    ...(await conversation(client, ada, bob, namesByText(texts))),
    lateStream: (await lateStream(client, bob)).code,
  };
}

/** The errors of a page from an origin that is not allowed. */
export async function callFromForbiddenOrigin(client: Client, { people }: Script): Promise<Refusal[]> {
  return [
    await refused(client, client.signIn(people.ada, {})),
    await refused(client, drain(client.subscribe({ positions: [] }, {}, {}))),
  ];
}

interface Person {
  readonly id: string;
  readonly metadata: Metadata;
}

async function signUp(client: Client, notes: Notes, account: Account): Promise<Person> {
  const { tokens } = await client.signUp(account, {});
  if (!tokens) throw new Error("the response has no tokens");
  const metadata = { authorization: `Bearer ${tokens.accessToken}` };
  notes.know(metadata, account.handle);
  return { id: tokens.userId, metadata };
}

/** The names of the texts, in order. */
function namesByText(texts: Script["texts"]): Map<string, string> {
  return new Map(Object.entries(texts).map(([name, { text, times, end }]) => [text.repeat(times) + end, name]));
}

/** Records each call when it has ended. */
class Notes {
  readonly steps: string[] = [];
  readonly #names = new Map<string | undefined, string>([[undefined, "anonymous"]]);

  know(metadata: Metadata, name: string): void {
    this.#names.set(metadata["authorization"], name);
  }

  taking(client: Client): Client {
    const note = (metadata: Metadata, method: string, status: string) => this.#note(metadata, method, status);
    function unary<I, O>(method: string, call: (request: I, metadata: Metadata) => Promise<O>): typeof call {
      return async (request, metadata) => {
        try {
          const response = await call(request, metadata);
          note(metadata, method, "OK");
          return response;
        } catch (error) {
          note(metadata, method, client.refusal(error).code);
          throw error;
        }
      };
    }
    return {
      ...client,
      signUp: unary("SignUp", client.signUp),
      signIn: unary("SignIn", client.signIn),
      listUsers: unary("ListUsers", client.listUsers),
      getUser: unary("GetUser", client.getUser),
      createConversation: unary("CreateConversation", client.createConversation),
      sendMessage: unary("SendMessage", client.sendMessage),
      listMessages: unary("ListMessages", client.listMessages),
      async *subscribe(request, metadata, options) {
        let status = "CANCELLED";
        try {
          yield* client.subscribe(request, metadata, options);
          status = "OK";
        } catch (error) {
          status = client.refusal(error).code;
          throw error;
        } finally {
          note(metadata, "Subscribe", status);
        }
      },
    };
  }

  #note(metadata: Metadata, method: string, status: string): void {
    // Attempts to open a stream too early are retries, not steps.
    if (status === "RESOURCE_EXHAUSTED") return;
    this.steps.push(`${this.#names.get(metadata["authorization"])}: ${method}: ${status}`);
  }
}

/** Ada sends messages to Bob, who receives them. */
async function conversation(client: Client, ada: Person, bob: Person, texts: ReadonlyMap<string, string>) {
  const created = await client.createConversation({ requestId: id(), memberIds: [bob.id] }, ada.metadata);
  if (!created.conversation) throw new Error("the response has no conversation");
  const { conversationId, cursor } = created.conversation;
  const send = (text: string, clientMessageId: string) =>
    client.sendMessage({ conversationId, clientMessageId, text }, ada.metadata);

  const byName = ({ seq, text }: ChatMessage) => ({ seq, text: texts.get(text) ?? text });
  const received = await listen(client, bob, { conversationId, cursor }, [...texts.keys()], (text) => send(text, id()));
  const once = id();
  const first = await send("once", once);
  const second = await send("once", once);
  return {
    received: received.map(byName),
    repeated: [first, second],
    idReused: brief(await refused(client, send("something else", once))),
    // One byte longer than the maximum.
    violations: brief(await refused(client, send(`${[...texts.keys()].at(-1)}!`, "no id"))),
    listed: (await client.listMessages({ conversationId }, bob.metadata)).map(byName),
  };
}

/** Returns the messages that `send` causes on a stream. A live client receives them at once, and then cancels the stream. */
async function listen(
  client: Client,
  bob: Person,
  from: Position,
  texts: readonly string[],
  send: (text: string) => Promise<unknown>,
): Promise<ChatMessage[]> {
  const received: ChatMessage[] = [];
  const sendAll = async () => {
    for (const text of texts) await send(text);
  };
  const request = { positions: [from] };
  if (!client.isLive) {
    // The stream continues from the position, so it misses no message when it opens later.
    await sendAll();
    // Only the server ends the stream: a client with its own deadline may drop received messages.
    const stream = client.subscribe(request, { ...bob.metadata, "grpc-timeout": NOT_LIVE }, {});
    await refused(client, drain(stream, received));
    return received;
  }
  const stop = new AbortController();
  let isSending = false;
  for await (const event of client.subscribe(request, bob.metadata, { signal: stop.signal })) {
    if (event.kind === "message") received.push(event.message);
    if (received.length === texts.length) break;
    if (event.kind !== "caughtUp" || isSending) continue;
    isSending = true;
    await sendAll();
  }
  stop.abort();
  return received;
}

/**
 * Returns the status of a stream that its deadline ends. A session has one stream at a time here: this one opens when
 * the server has noticed the cancellation of the previous one.
 */
async function lateStream(client: Client, { metadata }: Person): Promise<Refusal> {
  const giveUp = Date.now() + PATIENCE_MS;
  for (;;) {
    const stream = client.subscribe({ positions: [] }, metadata, { deadlineMs: LATE_STREAM_MS });
    const refusal = await refused(client, drain(stream));
    if (refusal.code !== "RESOURCE_EXHAUSTED" || Date.now() > giveUp) return refusal;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Reads a stream to its end. */
async function drain(stream: AsyncIterable<Event>, received: ChatMessage[] = []): Promise<void> {
  for await (const event of stream) if (event.kind === "message") received.push(event.message);
}

function refused(client: Client, call: Promise<unknown>): Promise<Refusal> {
  const unexpected = () => {
    throw new Error("the call was not refused");
  };
  return call.then(unexpected, (error: unknown) => client.refusal(error));
}

/** Without the message, which may change. */
function brief({ code, reason, fields }: Refusal) {
  return { code, reason, fields };
}

function id(): string {
  return crypto.randomUUID();
}
