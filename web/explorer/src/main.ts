// The GraphQL explorer: the schema, an editor, and the results of operations.

import "../../console/src/styles/base.css";
import "./explorer.css";

import { h, newId } from "../../console/src/dom.js";
import { Account } from "./account.js";
import { Editor } from "./editor.js";
import { exampleOf } from "./example.js";
import { type Entry, History } from "./history.js";
import { Results } from "./results.js";
import { run, type Result, type Sent } from "./run.js";
import { INTROSPECTION, type Introspected, Schema } from "./schema.js";
import { showSchema } from "./schema-view.js";
import { complete, operationAt } from "./syntax.js";

const FIRST = `# Ctrl+Enter runs the operation at the caret, Ctrl+Space completes a name.
query Keys {
  getJwks { keys { kid } }
}
`;

const nothing = new AbortController();
let running: AbortController | undefined;

const editor = new Editor({ complete: (text, caret) => (schema === undefined ? { start: caret, choices: [] } : complete(schema, text, caret)), changed: () => {} });
const variables = h("textarea", { id: newId("variables"), class: "code", rows: "5", spellcheck: "false", autocapitalize: "none", autocomplete: "off" });
const results = new Results((line, column) => editor.show(line, column));
const history = new History(open);
const runButton = h("button", { type: "button", class: "run", on: { click: () => void start() } }, "Run");
const stopButton = h("button", { type: "button", class: "small", hidden: true, on: { click: () => running?.abort() } }, "Stop");
let schema: Schema | undefined;
let account: Account | undefined;

async function load(): Promise<void> {
  const read = await readSchema();
  schema = read instanceof Schema ? read : undefined;
  account = new Account(schema === undefined || schema.root("mutation")?.fields?.some(({ name }) => name === "signIn") === true);
  open(history.newest ?? { document: firstDocument(), variables: "" });
  const side =
    read instanceof Schema
      ? showSchema(read, {
          example: (kind, field) => open(exampleOf(read, kind, field)),
          insert: ({ name }) => editor.insertLine(name),
        })
      : h("p", { class: "soft" }, `The schema cannot be read: ${read} Operations can still be run.`);
  document.querySelector("#app")?.replaceChildren(
    h("a", { href: "#main", class: "skip" }, "Skip to the editor"),
    h("header", {}, h("h1", {}, "GraphQL explorer"), account.element),
    h(
      "div",
      { class: "columns" },
      h("aside", { "aria-label": "Schema" }, h("details", { class: "side", open: matchMedia("(min-width: 60rem)").matches }, h("summary", {}, h("h2", {}, "Schema")), side)),
      h(
        "main",
        { id: "main", tabindex: "-1" },
        h(
          "section",
          { "aria-labelledby": "operation-title" },
          h("h2", { id: "operation-title" }, "Operation"),
          editor.element,
          h("div", {}, h("label", { for: variables.id }, "Variables (JSON), with your own values"), variables),
          h("div", { class: "bar" }, runButton, stopButton),
          history.element,
        ),
        results.element,
      ),
    ),
  );
}

/** The schema, or why it cannot be read. */
async function readSchema(): Promise<Schema | string> {
  try {
    const options = { isSubscription: false, authorization: undefined, signal: nothing.signal };
    for await (const { data, errors } of run({ query: INTROSPECTION }, options)) {
      const read = (data as { __schema?: Introspected } | null | undefined)?.__schema;
      return read === undefined ? (errors?.[0]?.message ?? "the response is empty.") : new Schema(read);
    }
    return "the response is empty.";
  } catch (error) {
    return String(error);
  }
}

/** A document that this gateway executes. */
function firstDocument(): string {
  const field = schema?.root("query")?.fields?.find(({ args }) => args.length === 0);
  const hasKeys = schema?.root("query")?.fields?.some(({ name }) => name === "getJwks") === true;
  return schema === undefined || field === undefined || hasKeys ? FIRST : exampleOf(schema, "query", field).document;
}

function open({ document: text, variables: values }: Entry): void {
  editor.text = text;
  variables.value = values;
}

/** What the editor holds, as it is sent; a string states what is wrong. */
function sent(): { readonly sent: Sent; readonly isSubscription: boolean } | string {
  const operation = operationAt(editor.text, editor.caret);
  const { name: operationName, kind } = operation ?? {};
  const written = variables.value.trim();
  try {
    const values: unknown = written === "" ? undefined : JSON.parse(written);
    return { sent: { query: editor.text, operationName, variables: values }, isSubscription: kind === "subscription" };
  } catch (error) {
    return `The variables are not JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function start(): Promise<void> {
  running?.abort();
  const prepared = sent();
  results.begin("");
  if (typeof prepared === "string") {
    results.fail(prepared);
    return;
  }
  const own = new AbortController();
  running = own;
  stopButton.hidden = false;
  history.add({ document: editor.text, variables: variables.value });
  const begun = performance.now();
  const { isSubscription } = prepared;
  results.status = isSubscription ? "The subscription is open." : "Running …";
  let count = 0;
  try {
    const authorization = await account?.authorization();
    for await (const result of run(prepared.sent, { isSubscription, authorization, signal: own.signal })) {
      if (running !== own) return;
      count = results.add(result);
      results.status = isSubscription ? `The subscription is open. Results: ${count}.` : summary(result, performance.now() - begun);
    }
    if (isSubscription && running === own) results.status = `The subscription has ended. Results: ${count}.`;
  } catch (error) {
    if (running !== own) return;
    results.status = own.signal.aborted ? `Stopped. Results: ${count}.` : "The operation has failed.";
    if (!own.signal.aborted) results.fail(error instanceof Error ? error.message : String(error));
  } finally {
    if (running === own) {
      running = undefined;
      stopButton.hidden = true;
    }
  }
}

function summary({ errors = [] }: Result, milliseconds: number): string {
  const failed = errors.length === 0 ? "" : errors.length === 1 ? " with an error" : ` with ${errors.length} errors`;
  return `Completed${failed} in ${Math.round(milliseconds)} ms.`;
}

addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  void start();
});

void load();
