// Shows schemas as lists of members. Messages within messages open on demand, so that recursion ends.

import { h, present } from "../../console/src/dom.js";
import { nameOf, type OpenApi, resolveSchema, type Schema } from "./document.js";
import { inline } from "./markdown.js";

/** The keywords that are shown as conditions. */
const CONDITIONS: readonly (readonly [string, (value: unknown) => string])[] = [
  ["minimum", (value) => `at least ${value}`],
  ["exclusiveMinimum", (value) => `more than ${value}`],
  ["maximum", (value) => `at most ${value}`],
  ["exclusiveMaximum", (value) => `less than ${value}`],
  ["x-minimum", (value) => `at least ${value}`],
  ["x-maximum", (value) => `at most ${value}`],
  ["minLength", (value) => (value === 1 ? "not empty" : `at least ${value} characters`)],
  ["maxLength", (value) => `at most ${value} characters`],
  ["x-max-bytes", (value) => `at most ${value} bytes`],
  ["minItems", (value) => (value === 1 ? "not empty" : `at least ${value} items`)],
  ["maxItems", (value) => `at most ${value} items`],
  ["uniqueItems", () => "without duplicates"],
  ["pattern", (value) => `matches ${value}`],
];

/** A schema: the members of an object, or else its type. */
export function showSchema(document: OpenApi, schema: Schema): HTMLElement {
  const { properties, required = [], items } = resolveSchema(document, schema);
  if (properties !== undefined) {
    const members = Object.entries(properties);
    if (members.length === 0) return h("p", { class: "soft" }, "An object without members.");
    return h("ul", { class: "members" }, ...members.map(([name, of]) => member(document, name, of, required.includes(name))));
  }
  const choices = alternatives(document, items ?? schema);
  if (choices !== undefined) return choices;
  return h("ul", { class: "members" }, h("li", {}, facts(document, schema), more(document, schema)));
}

function member(document: OpenApi, name: string, schema: Schema, isRequired: boolean): HTMLElement {
  const { description } = schema;
  return h(
    "li",
    {},
    h("code", { class: "name" }, name),
    " ",
    facts(document, schema),
    isRequired && h("span", { class: "required" }, "required"),
    description !== undefined && h("p", {}, ...inline(description)),
    more(document, schema),
  );
}

/** The alternatives of a schema: the lines or events of a stream. */
function alternatives(document: OpenApi, schema: Schema): HTMLElement | undefined {
  const choices = schema.oneOf;
  if (choices === undefined) return undefined;
  const parts = choices.flatMap((choice, at) => [at > 0 && h("p", { class: "soft" }, "or"), showSchema(document, choice)]);
  return h("div", {}, ...parts);
}

/** The type and the conditions of a value, in words. */
export function facts(document: OpenApi, schema: Schema): HTMLElement {
  return h("span", { class: "facts" }, [typeOf(document, schema), ...conditions(schema)].join(", "));
}

function typeOf(document: OpenApi, schema: Schema): string {
  if (schema.contentSchema !== undefined) return `JSON of ${typeOf(document, schema.contentSchema)}`;
  if (schema.$ref !== undefined) return shortName(nameOf(schema.$ref));
  if (schema.items !== undefined) return `list of ${typeOf(document, schema.items)}`;
  if (typeof schema.additionalProperties === "object") return `map to ${typeOf(document, schema.additionalProperties)}`;
  const choices = schema.anyOf ?? [];
  if (choices.length > 0) return choices.map((choice) => typeOf(document, choice)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : String(schema.type ?? "any value");
  return schema.format === undefined ? type : `${type} (${schema.format})`;
}

function conditions(schema: Schema): string[] {
  const own = CONDITIONS.flatMap(([keyword, words]) => {
    const value = schema[keyword];
    return value === undefined || value === false || isRangeOfType(schema, keyword) ? [] : [words(value)];
  });
  const inner = [...(schema.anyOf ?? []), ...(schema.items ? [schema.items] : [])];
  return [...own, ...inner.filter((choice) => choice.const === undefined).flatMap(conditions)];
}

/** Whether the format implies a bound or pattern. */
function isRangeOfType({ format = "", minimum, maximum }: Schema, keyword: string): boolean {
  if (keyword === "pattern") return /^(u?int64|single-line|multi-line)$/.test(format);
  const isFull = keyword === "minimum" ? Number(minimum) < -1e9 : Number(maximum) > 2e9;
  return /^(u?int(32|64)|float)$/.test(format) && (keyword === "minimum" || keyword === "maximum") && isFull;
}

/** The members of the message or the values of the enum that a schema refers to. */
function more(document: OpenApi, schema: Schema): HTMLElement | false {
  const target = schema.items ?? schema.contentSchema ?? schema.additionalProperties ?? schema;
  if (typeof target !== "object") return false;
  const resolved = resolveSchema(document, target);
  const title = target.$ref === undefined ? "Members" : shortName(nameOf(target.$ref));
  if (resolved.enum !== undefined) {
    const values = resolved.enum.map((value) => h("li", {}, h("code", {}, String(value))));
    return h("details", { class: "nested" }, h("summary", {}, `Values of ${title}`), h("ul", { class: "values" }, ...values));
  }
  if (resolved.properties === undefined) return false;
  return onDemand(title, () => showSchema(document, target));
}

/** A section whose content is made when it first opens. */
export function onDemand(title: string, content: () => Node): HTMLElement {
  const section = h("details", { class: "nested" }, h("summary", {}, title));
  section.addEventListener("toggle", () => section.append(...present([content()])), { once: true });
  return section;
}

/** A full name without its package. */
export function shortName(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
