// GraphQL with graphql-js, the reference implementation, and graphql-sse, whose protocol the subscriptions have.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { buildClientSchema, getIntrospectionQuery, type GraphQLSchema, lexicographicSortSchema, parse, printSchema, validate } from "graphql";
import { type Client, createClient } from "graphql-sse";

import { Server } from "../server.js";

let server: Server;

before(async () => {
  server = await Server.start({ TRELLIS_GATEWAY__GRAPHQL__ENABLED: "true" });
});

after(async () => {
  await server?.stop();
});

/** The first result of an operation. */
async function execute(client: Client, query: string, variables: Record<string, unknown> = {}): Promise<any> {
  for await (const { data, errors } of client.iterate<any, any>({ query, variables })) {
    assert.deepEqual(errors, undefined, query);
    return data;
  }
  assert.fail(`no result: ${query}`);
}

function connect(token?: string): Client {
  return createClient({ url: `${server.url}/graphql`, headers: token ? { authorization: `Bearer ${token}` } : {}, retryAttempts: 0 });
}

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

test("graphql-sse runs the scenario", { timeout: 60_000 }, async () => {
  const join = async (handle: string): Promise<{ client: Client; userId: string }> => {
    const account = { email: `${handle}@example.org`, password: `the password of ${handle}`, handle };
    const { tokens } = (await execute(connect(), SIGN_UP, account)).signUp;
    return { client: connect(tokens.accessToken), userId: tokens.userId };
  };
  const [ada, bob] = [await join("ada"), await join("bob")];
  const created = await execute(ada.client, CREATE, { id: crypto.randomUUID(), members: [bob.userId] });
  const { conversationId, owner } = created.createConversation.conversation;
  assert.equal(owner.handle, "ada");
  for await (const { data, errors } of bob.client.iterate<any, any>({ query: SUBSCRIBE })) {
    assert.deepEqual(errors, undefined);
    const { caughtUp, entry } = data!.subscribe;
    if (caughtUp) await execute(ada.client, SEND, { in: conversationId, id: crypto.randomUUID(), text: "Hello 🌿" });
    if (entry?.entry.message) {
      assert.deepEqual(entry.entry, { message: { text: "Hello 🌿" }, author: { handle: "ada" } });
      break;
    }
  }
  const { nodes } = (await execute(bob.client, LIST, { in: conversationId })).listMessages;
  assert.equal(nodes[0].author.handle, "ada");
  // Errors have the code and the reason of the call.
  for await (const { errors } of connect().iterate<any, any>({ query: LIST, variables: { in: conversationId } })) {
    assert.equal(errors?.[0]?.extensions?.["code"], "UNAUTHENTICATED");
  }
  for (const { client } of [ada, bob]) client.dispose();
});
