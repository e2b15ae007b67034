// GraphQL with graphql-js, the reference implementation, and the clients of both protocols of its subscriptions: graphql-sse
// and graphql-ws.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { buildClientSchema, getIntrospectionQuery, type GraphQLSchema, lexicographicSortSchema, parse, printSchema, validate } from "graphql";
import { createClient as createSseClient } from "graphql-sse";
import { createClient as createWsClient } from "graphql-ws";
import WebSocket from "ws";

import { Server } from "../server.js";

let server: Server;

before(async () => {
  server = await Server.start();
});

after(async () => {
  await server?.stop();
});

/** What both clients have in common. */
interface Client {
  iterate(payload: { query: string; variables?: Record<string, unknown> }): AsyncIterableIterator<{ data?: any; errors?: readonly any[] }>;
  dispose(): unknown;
}

/** The first result of an operation. */
async function execute(client: Client, query: string, variables: Record<string, unknown> = {}): Promise<any> {
  for await (const { data, errors } of client.iterate({ query, variables })) {
    assert.deepEqual(errors, undefined, query);
    return data;
  }
  assert.fail(`no result: ${query}`);
}

type Connect = (token?: string) => Client;

const connect: Connect = (token) =>
  createSseClient({ url: `${server.url}/graphql`, headers: token ? { authorization: `Bearer ${token}` } : {}, retryAttempts: 0 }) as Client;

const connectSocket: Connect = (token) =>
  createWsClient({
    url: `${server.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: token ? { authorization: `Bearer ${token}` } : {},
    retryAttempts: 0,
  }) as Client;

const SIGN_UP = `mutation ($email: String!, $password: String!, $handle: String!) {
  signUp(email: $email, password: $password, handle: $handle, displayName: $handle) { tokens { accessToken userId } } }`;
const CREATE = `mutation ($id: String!, $members: [String!]!) {
  createConversation(requestId: $id, memberIds: $members) { conversation { conversationId owner { handle } } } }`;
const SEND = `mutation ($in: String!, $id: String!, $text: String!) {
  sendMessage(conversationId: $in, clientMessageId: $id, text: $text) { entry { seq } } }`;
const LIST = `query ($in: String!) {
  listMessages(conversationId: $in) { nodes { message { text } author { handle } } pageInfo { hasNextPage } } }`;
const SUBSCRIBE = `subscription { subscribe { caughtUp entry { entry { message { text } author { handle } } } } }`;

test("graphql-js reads the schema and accepts the operations", { timeout: 60_000 }, async () => {
  const schema: GraphQLSchema = buildClientSchema(await execute(connect(), getIntrospectionQuery()));
  assert.match(printSchema(lexicographicSortSchema(schema)), /listMessages\(/);
  for (const document of [SIGN_UP, CREATE, SEND, LIST, SUBSCRIBE]) assert.deepEqual(validate(schema, parse(document)), [], document);
});

test("graphql-sse runs the scenario", { timeout: 60_000 }, () => scenario(connect, "sse"));

test("graphql-ws runs the scenario", { timeout: 60_000 }, () => scenario(connectSocket, "ws"));

async function scenario(connect: Connect, suffix: string): Promise<void> {
  const join = async (name: string): Promise<{ client: Client; userId: string; handle: string }> => {
    const handle = `${name}_${suffix}`;
    const account = { email: `${handle}@example.org`, password: `the password of ${handle}`, handle };
    const { tokens } = (await execute(connect(), SIGN_UP, account)).signUp;
    return { client: connect(tokens.accessToken), userId: tokens.userId, handle };
  };
  const [ada, bob] = [await join("ada"), await join("bob")];
  const created = await execute(ada.client, CREATE, { id: crypto.randomUUID(), members: [bob.userId] });
  const { conversationId, owner } = created.createConversation.conversation;
  assert.equal(owner.handle, ada.handle);
  for await (const { data, errors } of bob.client.iterate({ query: SUBSCRIBE })) {
    assert.deepEqual(errors, undefined);
    const { caughtUp, entry } = data!.subscribe;
    if (caughtUp) await execute(ada.client, SEND, { in: conversationId, id: crypto.randomUUID(), text: "Hello 🌿" });
    if (entry?.entry.message) {
      assert.deepEqual(entry.entry, { message: { text: "Hello 🌿" }, author: { handle: ada.handle } });
      break;
    }
  }
  const { nodes } = (await execute(bob.client, LIST, { in: conversationId })).listMessages;
  assert.equal(nodes[0].author.handle, ada.handle);
  // Errors have the code and the reason of the call.
  const anonymous = connect();
  for await (const { errors } of anonymous.iterate({ query: LIST, variables: { in: conversationId } })) {
    assert.equal(errors?.[0]?.extensions?.["code"], "UNAUTHENTICATED");
  }
  for (const client of [ada.client, bob.client, anonymous]) client.dispose();
}

test("graphql-ws subscribes again with a new token", { timeout: 60_000 }, async () => {
  const other = await Server.start({ TRELLIS_GATEWAY__GRAPHQL__ENABLED: "true", TRELLIS_AUTH__ACCESS_LIFETIME: "4s" });
  const url = `${other.url}/graphql`;
  const post = async (query: string, variables: Record<string, unknown>): Promise<any> => {
    const body = JSON.stringify({ query, variables });
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    return ((await response.json()) as { data: any }).data;
  };
  const account = { email: "ada@example.org", password: "the password of ada" };
  await post(SIGN_UP, { ...account, handle: "ada" });
  const signIn = `mutation ($email: String!, $password: String!) { signIn(email: $email, password: $password) { tokens { accessToken } } }`;
  let tokens = 0;
  const client = createWsClient({
    url: url.replace("http", "ws"),
    webSocketImpl: WebSocket,
    connectionParams: async () => {
      tokens += 1;
      return { authorization: `Bearer ${(await post(signIn, account)).signIn.tokens.accessToken}` };
    },
    retryWait: async () => {},
  });
  // The subscription outlives two tokens, and reports no error.
  for await (const { errors } of client.iterate<any, any>({ query: SUBSCRIBE })) {
    assert.deepEqual(errors, undefined);
    if (tokens === 3) break;
  }
  client.dispose();
  await other.stop();
});
