// Example operations for root fields: what the field needs, and the fields of its response.

import { type Field, type Input, isRequired, type Kind, nameOf, type Schema, show, type Type, type TypeRef } from "./schema.js";

/** How deep objects of a response are selected. */
const DEPTH = 3;
/** How deep the objects of variables are filled. */
const INPUT_DEPTH = 4;

export interface Example {
  readonly document: string;
  readonly variables: string;
}

/** An operation that calls a root field. Its variables are the required arguments. */
export function exampleOf(schema: Schema, kind: Kind, field: Field): Example {
  const required = field.args.filter(isRequired);
  const declared = required.map(({ name, type }) => `$${name}: ${show(type)}`).join(", ");
  const passed = required.map(({ name }) => `${name}: $${name}`).join(", ");
  const [of, call] = required.length > 0 ? [`(${declared})`, `(${passed})`] : ["", ""];
  const name = field.name.charAt(0).toUpperCase() + field.name.slice(1);
  const selected = selection(schema, field.type, DEPTH, "  ", new Set()) ?? "";
  const values = Object.fromEntries(required.map((input) => [input.name, placeholder(schema, input.type, INPUT_DEPTH)]));
  return {
    document: `${kind} ${name}${of} {\n  ${field.name}${call}${selected}\n}\n`,
    variables: required.length > 0 ? JSON.stringify(values, null, 2) : "",
  };
}

/** What selects the fields of a type: nothing for a scalar, `undefined` for an object that is too deep. */
export function selection(schema: Schema, ref: TypeRef, depth: number, indent: string, above: ReadonlySet<string>): string | undefined {
  const type = schema.type(nameOf(ref));
  if (!type?.fields) return "";
  // An object within itself would be selected again and again.
  if (depth === 0 || above.has(type.name)) return undefined;
  const inner = `${indent}  `;
  const lines = fieldsOf(schema, type, depth, inner, new Set([...above, type.name]));
  return ` {\n${lines.map((line) => `${inner}${line}\n`).join("")}${indent}}`;
}

function fieldsOf(schema: Schema, type: Type, depth: number, indent: string, above: ReadonlySet<string>): string[] {
  const lines = (type.fields ?? []).flatMap((field) => {
    if (field.args.some(isRequired)) return [];
    const inner = selection(schema, field.type, depth - 1, indent, above);
    return inner === undefined ? [] : [`${field.name}${inner}`];
  });
  return lines.length > 0 ? lines : ["__typename"];
}

/** A value of the type, to be replaced. */
function placeholder(schema: Schema, type: TypeRef, depth: number): unknown {
  if (type.kind === "NON_NULL" && type.ofType) return placeholder(schema, type.ofType, depth);
  if (type.kind === "LIST" && type.ofType) return [placeholder(schema, type.ofType, depth)];
  const named = schema.type(nameOf(type));
  if (named?.enumValues) return (named.enumValues.find(({ name }) => !name.endsWith("_UNSPECIFIED")) ?? named.enumValues[0])?.name;
  if (named?.inputFields) return depth === 0 ? {} : filled(schema, named.inputFields, depth - 1);
  const values: Readonly<Record<string, unknown>> = { Int: 0, UInt32: 0, Float: 0, Boolean: false, Int64: "0", UInt64: "0", JSON: {}, Empty: {} };
  return type.name !== null && type.name in values ? values[type.name] : "";
}

function filled(schema: Schema, inputs: readonly Input[], depth: number): Record<string, unknown> {
  return Object.fromEntries(inputs.filter(isRequired).map((input) => [input.name, placeholder(schema, input.type, depth)]));
}
