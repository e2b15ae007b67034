import assert from "node:assert/strict";
import { test } from "node:test";

import { buildSchema, graphqlSync, parse, validate } from "graphql";

import { exampleOf } from "../src/example.js";
import { INTROSPECTION, type Introspected, KINDS, Schema } from "../src/schema.js";
import { complete, operationAt, operations } from "../src/syntax.js";

const SDL = `
  enum Color { COLOR_UNSPECIFIED COLOR_RED COLOR_BLUE }
  input Size { width: Int!, height: Int, unit: Unit }
  input Unit { name: String! }
  scalar UInt64
  type Item { id: String!, color: Color!, parts: [Item!]!, shop: Shop, tags(first: Int!): [String!]! }
  type Shop { name: String!, items: [Item!]! }
  type Query { item(id: String!, color: Color, sizes: [Size!]): Item, shop: Shop, count: UInt64! }
  type Mutation { addItem(id: String!, color: Color!, sizes: [Size!]!, count: UInt64!, isNew: Boolean!): Item }
  type Subscription { items: Item }
`;
const built = buildSchema(SDL);
const { data } = graphqlSync({ schema: built, source: INTROSPECTION });
const schema = new Schema((data as unknown as { __schema: Introspected }).__schema);

/** What completes the text before `|`. */
function choices(text: string): string[] {
  const caret = text.indexOf("|");
  return complete(schema, text.replace("|", ""), caret).choices.map((choice) => choice.text);
}

test("completions fit the place of the caret", () => {
  assert.deepEqual(choices("|"), ["query", "mutation", "subscription"]);
  assert.deepEqual(choices("mu|"), ["mutation"]);
  assert.deepEqual(choices("{ |"), ["item", "shop", "count", "__typename"]);
  assert.deepEqual(choices("query query { s|"), ["shop"]);
  assert.deepEqual(choices("mutation M { |"), ["addItem", "__typename"]);
  assert.deepEqual(choices("subscription { items { co|"), ["color"]);
  assert.deepEqual(choices("{ item(id: \"{\") { parts { id } s| } }"), ["shop"]);
  assert.deepEqual(choices("{ alias: shop { |"), ["name", "items", "__typename"]);
  assert.deepEqual(choices("{ shop { name } it|em }"), ["item"]);
  assert.deepEqual(choices("{ item { ... on Shop { n|"), ["name"]);
  assert.deepEqual(choices("fragment F on Shop { i|"), ["items"]);
  assert.deepEqual(choices("fragment F on Shop { name } { s|"), ["shop"]);
  assert.deepEqual(choices("{ item(|"), ["id", "color", "sizes"]);
  assert.deepEqual(choices("{ item(id: \"a\", co|"), ["color"]);
  assert.deepEqual(choices("query ($c: Color) { item(color: |"), ["COLOR_UNSPECIFIED", "COLOR_RED", "COLOR_BLUE", "$c"]);
  assert.deepEqual(choices("query ($c: Color) { item(color: $|"), ["$c"]);
  assert.deepEqual(choices("{ item(sizes: [{ w|"), ["width"]);
  assert.deepEqual(choices("{ item(sizes: [{ width: 1, unit: { |"), ["name"]);
  assert.deepEqual(choices("query ($s: Si|"), ["Size"]);
  assert.deepEqual(choices("{ shop @|"), []);
  assert.deepEqual(choices("{ unknown { |"), ["__typename"]);
  assert.deepEqual(choices("# { |"), ["query", "mutation", "subscription"]);
});

test("operations of a document are found by the caret", () => {
  const document = "query A { shop { name } }\nfragment F on Shop { name }\nmutation B($a: Int) { a } subscription { items { id } }";
  assert.deepEqual(
    operations(document).map(({ kind, name }) => [kind, name]),
    [["query", "A"], ["mutation", "B"], ["subscription", undefined]],
  );
  assert.equal(operationAt(document, 3)?.name, "A");
  assert.equal(operationAt(document, document.indexOf("fragment"))?.name, "B");
  assert.equal(operationAt(document, document.length)?.kind, "subscription");
  assert.equal(operationAt("{ shop", 2), undefined);
  assert.equal(operationAt("{ a }", 5)?.kind, "query");
});

test("examples of all root fields are valid", () => {
  for (const kind of KINDS) {
    for (const field of schema.root(kind)?.fields ?? []) {
      const { document, variables } = exampleOf(schema, kind, field);
      assert.deepEqual(validate(built, parse(document)), [], document);
      if (variables !== "") JSON.parse(variables);
    }
  }
  const add = schema.root("mutation")?.fields?.[0];
  assert.ok(add);
  const { variables } = exampleOf(schema, "mutation", add);
  assert.deepEqual(JSON.parse(variables), { id: "", color: "COLOR_RED", sizes: [{ width: 0 }], count: "0", isNew: false });
});
