// One scenario for every client: two people meet, talk, and are refused in each way that a client must be able to
// read. What was done and seen comes back as plain data. scenario.json says who takes part, each step and what is to
// be seen; tests/python/test_scenario.py does the same with grpcio and is held to the same file.

/** What the scenario asks of a client, in the names that every generator gives to the contract's fields. */
export interface Client {
  /** Whether a stream's messages come one by one, or all at the stream's end. */
  readonly isLive: boolean;
  signUp(request: Account, metadata: Metadata): Promise<SignedIn>;
  signIn(request: { email: string; password: string }, metadata: Metadata): Promise<SignedIn>;
  listUsers(request: { query: string }, metadata: Metadata): Promise<{ users: User[] }>;
  getUser(request: { userId: string }, metadata: Metadata): Promise<{ user?: User | undefined }>;
  createConversation(
    request: { requestId: string; memberIds: string[] },
    metadata: Metadata,
  ): Promise<{ conversation?: Position | undefined }>;
  sendMessage(request: Draft, metadata: Metadata): Promise<Said>;
  listMessages(request: { conversationId: string }, metadata: Metadata): Promise<Said[]>;
  subscribe(request: { positions: Position[] }, metadata: Metadata, options: StreamOptions): AsyncIterable<Event>;
  /** What the error of a failed call says; throws what is no such error. */
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

/** A message's place in the log, and its text. */
export interface Said {
  readonly seq: number;
  readonly text: string;
}

export type Event = { kind: "caughtUp" } | { kind: "said"; said: Said } | { kind: "other" };

/** A deadline is set, and a stream cancelled, by the client's own means. */
export interface StreamOptions {
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
  /** From google.rpc.ErrorInfo; empty when no Trellis server spoke. */
  readonly reason: string;
  /** From google.rpc.BadRequest. */
  readonly fields: readonly string[];
}

/** What scenario.json says. */
export interface Script {
  readonly people: { readonly ada: Account; readonly bob: Account };
  /** By name: texts of one to four bytes a character. The last is as long as a text may be, 16 KiB. */
  readonly texts: Readonly<Record<string, { text: string; times: number; end: string }>>;
  /** Each call in the order of their ends: who, what, and the status. */
  readonly steps: readonly string[];
  readonly observations: Observations;
}

/** As `grpc-timeout` says it: a client that is not live is told what it heard after so long. */
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
    words: wrongPassword.message,
    isSameAccount: again?.userId === ada.id,
    found: users.map(({ handle }) => handle),
    displayName: user?.displayName,
    withoutToken: brief(await refused(client, client.listUsers({ query: "" }, {}))),
    streamWithoutToken: brief(await refused(client, drain(client.subscribe({ positions: [] }, {}, {})))),
    // The header by hand: no client times this one itself, so that the server's word is read.
    lateCall: brief(await refused(client, client.signIn({ email, password }, { "grpc-timeout": "1m" }))),
    ...(await conversation(client, ada, bob, said(texts))),
    lateStream: (await lateStream(client, bob)).code,
  };
}

/** What a page that may not call is told. */
export async function knock(client: Client, { people }: Script): Promise<Refusal[]> {
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
  if (!tokens) throw new Error("no tokens came");
  const metadata = { authorization: `Bearer ${tokens.accessToken}` };
  notes.know(metadata, account.handle);
  return { id: tokens.userId, metadata };
}

/** The texts in their order, each by its name. */
function said(texts: Script["texts"]): Map<string, string> {
  return new Map(Object.entries(texts).map(([name, { text, times, end }]) => [text.repeat(times) + end, name]));
}

/** Takes down each call when it has ended. */
class Notes {
  readonly steps: string[] = [];
  readonly #names = new Map<string | undefined, string>([[undefined, "nobody"]]);

  know(metadata: Metadata, name: string): void {
    this.#names.set(metadata["authorization"], name);
  }

  taking(client: Client): Client {
    const note = (metadata: Metadata, method: string, status: string) => this.#note(metadata, method, status);
    function unary<I, O>(method: string, call: (request: I, metadata: Metadata) => Promise<O>): typeof call {
      return async (request, metadata) => {
        try {
          const answer = await call(request, metadata);
          note(metadata, method, "OK");
          return answer;
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
    // A stream that was opened too early is opened again, as often as it takes: that is no step.
    if (status === "RESOURCE_EXHAUSTED") return;
    this.steps.push(`${this.#names.get(metadata["authorization"])}: ${method}: ${status}`);
  }
}

/** Ada talks to Bob, who listens. */
async function conversation(client: Client, ada: Person, bob: Person, texts: ReadonlyMap<string, string>) {
  const created = await client.createConversation({ requestId: id(), memberIds: [bob.id] }, ada.metadata);
  if (!created.conversation) throw new Error("no conversation came");
  const { conversationId, cursor } = created.conversation;
  const say = (text: string, clientMessageId: string) =>
    client.sendMessage({ conversationId, clientMessageId, text }, ada.metadata);

  const byName = ({ seq, text }: Said) => ({ seq, text: texts.get(text) ?? text });
  const heard = await listen(client, bob, { conversationId, cursor }, [...texts.keys()], (text) => say(text, id()));
  const once = id();
  const first = await say("once", once);
  const second = await say("once", once);
  return {
    heard: heard.map(byName),
    repeated: [first, second],
    idReused: brief(await refused(client, say("something else", once))),
    // One byte longer than a text may be.
    violations: brief(await refused(client, say(`${[...texts.keys()].at(-1)}!`, "no id"))),
    listed: (await client.listMessages({ conversationId }, bob.metadata)).map(byName),
  };
}

/** What `say` brings about on a stream. A client that is live hears it at once, and then cancels the stream. */
async function listen(
  client: Client,
  bob: Person,
  from: Position,
  texts: readonly string[],
  say: (text: string) => Promise<unknown>,
): Promise<Said[]> {
  const heard: Said[] = [];
  const sayAll = async () => {
    for (const text of texts) await say(text);
  };
  const request = { positions: [from] };
  if (!client.isLive) {
    // The position says where the stream goes on: nothing is missed when it opens later.
    await sayAll();
    // The server alone ends the stream: a client that times it too may drop what has come.
    const stream = client.subscribe(request, { ...bob.metadata, "grpc-timeout": NOT_LIVE }, {});
    await refused(client, drain(stream, heard));
    return heard;
  }
  const stop = new AbortController();
  let isSaying = false;
  for await (const event of client.subscribe(request, bob.metadata, { signal: stop.signal })) {
    if (event.kind === "said") heard.push(event.said);
    if (heard.length === texts.length) break;
    if (event.kind !== "caughtUp" || isSaying) continue;
    isSaying = true;
    await sayAll();
  }
  stop.abort();
  return heard;
}

/**
 * The end of a stream that its deadline ends. A session has one stream at a time here: this one opens when the
 * server has learnt that the client cancelled the one before.
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
async function drain(stream: AsyncIterable<Event>, heard: Said[] = []): Promise<void> {
  for await (const event of stream) if (event.kind === "said") heard.push(event.said);
}

function refused(client: Client, call: Promise<unknown>): Promise<Refusal> {
  const unexpected = () => {
    throw new Error("the call was not refused");
  };
  return call.then(unexpected, (error: unknown) => client.refusal(error));
}

/** Without the words, which may change. */
function brief({ code, reason, fields }: Refusal) {
  return { code, reason, fields };
}

function id(): string {
  return crypto.randomUUID();
}
