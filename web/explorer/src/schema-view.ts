// The schema as a list that opens: root fields first, then the types.

import { type Child, h } from "../../console/src/dom.js";
import { type Field, type Input, isRequired, type Kind, KINDS, nameOf, type Schema, show, type Type, type TypeRef } from "./schema.js";

/** How many names a search shows of each part. */
const MOST_FOUND = 60;
const TITLES: Readonly<Record<Kind, string>> = { query: "Queries", mutation: "Mutations", subscription: "Subscriptions" };

export interface SchemaActions {
  /** Replaces the document by an example of a root field. */
  readonly example: (kind: Kind, field: Field) => void;
  /** Inserts a field at the caret. */
  readonly insert: (field: Field) => void;
}

/** The schema with a search. */
export function showSchema(schema: Schema, actions: SchemaActions): HTMLElement {
  const search = h("input", { type: "search", placeholder: "Search the schema", "aria-label": "Search the schema" });
  const list = h("div", {});
  const fill = () => list.replaceChildren(...parts(schema, actions, search.value.trim().toLowerCase()));
  search.addEventListener("input", fill);
  fill();
  return h("div", { class: "schema" }, search, list);
}

function parts(schema: Schema, actions: SchemaActions, wanted: string): HTMLElement[] {
  const matches = ({ name, description }: { name: string; description?: string | null }) =>
    name.toLowerCase().includes(wanted) || (wanted !== "" && description?.toLowerCase().includes(wanted) === true);
  const roots = KINDS.flatMap((kind) => {
    const fields = (schema.root(kind)?.fields ?? []).filter(matches).slice(0, MOST_FOUND);
    return fields.length === 0 ? [] : [part(TITLES[kind], fields.map((field) => rootField(schema, actions, kind, field)))];
  });
  // Without a search the types are behind the fields that have them.
  const types = wanted === "" ? [] : schema.types.filter(matches).slice(0, MOST_FOUND);
  const found = types.length === 0 ? [] : [part("Types", types.map((type) => opening([h("code", {}, type.name)], () => typeBody(schema, actions, type, new Set()))))];
  const all = [...roots, ...found];
  return all.length > 0 ? all : [h("p", { class: "soft" }, "Nothing matches. Search for a part of a name or of a description.")];
}

function part(title: string, items: readonly HTMLElement[]): HTMLElement {
  return h("section", {}, h("h3", {}, title), h("ul", {}, ...items.map((item) => h("li", {}, item))));
}

function rootField(schema: Schema, actions: SchemaActions, kind: Kind, field: Field): HTMLElement {
  return opening([h("code", {}, field.name)], () => [
    description(field),
    h("button", { type: "button", class: "small", on: { click: () => actions.example(kind, field) } }, "Use as example"),
    ...inputs(schema, "Arguments", field.args),
    h("h4", {}, "Returns"),
    ...typed(schema, actions, field.type, new Set()),
  ]);
}

/** The name of a type, and its fields on demand. */
function typed(schema: Schema, actions: SchemaActions, ref: TypeRef, above: ReadonlySet<string>): HTMLElement[] {
  const type = schema.type(nameOf(ref));
  const name = h("code", { class: "type" }, show(ref));
  if (type === undefined || above.has(type.name) || !hasBody(type)) return [h("p", {}, name)];
  return [opening([name], () => typeBody(schema, actions, type, above))];
}

function hasBody({ fields, inputFields, enumValues, description: text }: Type): boolean {
  return (fields ?? inputFields ?? enumValues) != null || Boolean(text);
}

function typeBody(schema: Schema, actions: SchemaActions, type: Type, above: ReadonlySet<string>): Child[] {
  const inner = new Set([...above, type.name]);
  const fields = (type.fields ?? []).map((field) =>
    h(
      "li",
      {},
      h("button", { type: "button", class: "insert", title: `Insert ${field.name} at the caret`, on: { click: () => actions.insert(field) } }, h("code", {}, field.name)),
      ...typed(schema, actions, field.type, inner),
      description(field),
    ),
  );
  const values = (type.enumValues ?? []).map((value) => h("li", {}, h("code", {}, value.name), description(value)));
  return [
    description(type),
    fields.length > 0 && h("ul", { class: "members" }, ...fields),
    values.length > 0 && h("ul", { class: "members" }, ...values),
    ...inputs(schema, "Fields", type.inputFields ?? []),
  ];
}

function inputs(schema: Schema, title: string, all: readonly Input[]): HTMLElement[] {
  if (all.length === 0) return [];
  const none: SchemaActions = { example: () => {}, insert: () => {} };
  const items = all.map((input) =>
    h(
      "li",
      {},
      h("code", { class: "name" }, input.name),
      isRequired(input) && h("span", { class: "required" }, "required"),
      ...typed(schema, none, input.type, new Set()),
      description(input),
    ),
  );
  return [h("h4", {}, title), h("ul", { class: "members" }, ...items)];
}

function description({ description: text }: { description?: string | null }): Child {
  return Boolean(text) && h("p", { class: "soft" }, text ?? "");
}

/** A part whose content is made when it first opens. */
function opening(summary: readonly Child[], content: () => readonly Child[]): HTMLElement {
  const details = h("details", {}, h("summary", {}, ...summary));
  details.addEventListener("toggle", () => details.append(h("div", { class: "inner" }, ...content())), { once: true });
  return details;
}
