// Reads documents while they are written: their operations, and what may stand at the caret.

import { type Field, type Input, type Kind, KINDS, nameOf, type Schema, show, type Type } from "./schema.js";

export interface Token {
  readonly kind: "name" | "variable" | "value" | "punctuator";
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** An operation of a document. */
export interface OperationPart {
  readonly kind: Kind;
  readonly name: string | undefined;
  readonly start: number;
  readonly end: number;
}

/** The names that may stand at the caret, instead of the text from `start` to it. */
export interface Completion {
  readonly start: number;
  readonly choices: readonly Choice[];
}

export interface Choice {
  readonly text: string;
  /** The type, or another note. */
  readonly note: string;
}

/** Comments, block strings, strings, variables, names, numbers, and punctuators. */
const TOKENS = /#[^\n]*|"""[^]*?(?:"""|$)|"(?:\\.|[^"\\\n])*"?|\$(?:[_A-Za-z]\w*)?|[_A-Za-z]\w*|-?\d[\w.+-]*|\.\.\.|[!&()[\]{}:=@|]/g;

/** The tokens of a document. Characters that belong to none are skipped, as are comments. */
export function tokens(document: string): Token[] {
  return [...document.matchAll(TOKENS)].flatMap(({ 0: text, index: start }) => {
    if (text.startsWith("#")) return [];
    return [{ kind: kindOf(text), text, start, end: start + text.length }];
  });
}

function kindOf(text: string): Token["kind"] {
  if (/^[_A-Za-z]/.test(text)) return "name";
  if (text.startsWith("$")) return "variable";
  return /^["\d-]/.test(text) ? "value" : "punctuator";
}

/** The operations of a document, in order. */
export function operations(document: string): OperationPart[] {
  const found: OperationPart[] = [];
  let depth = 0;
  let begun: { kind: Kind | undefined; name: string | undefined; start: number } | undefined;
  for (const { text, kind, start, end } of tokens(document)) {
    if (depth === 0 && kind === "name" && begun === undefined) {
      begun = { kind: KINDS.find((one) => one === text), name: undefined, start };
    } else if (depth === 0 && kind === "name" && begun?.kind !== undefined && begun.name === undefined) {
      begun.name = text;
    }
    if ("{([".includes(text)) {
      if (depth === 0) begun ??= { kind: "query", name: undefined, start };
      depth += 1;
    } else if ("})]".includes(text) && depth > 0) {
      depth -= 1;
      if (depth === 0 && text === "}") {
        // Without a kind it is a fragment.
        if (begun?.kind !== undefined) found.push({ kind: begun.kind, name: begun.name, start: begun.start, end });
        begun = undefined;
      }
    }
  }
  return found;
}

/** The operation at the caret, or else the first one after it, or the last one. */
export function operationAt(document: string, caret: number): OperationPart | undefined {
  const all = operations(document);
  return all.find(({ end }) => caret <= end) ?? all.at(-1);
}

/** A pair of brackets that is open at the caret. `inner` is the type of the selection that would open within. */
type Frame =
  | { readonly kind: "selection"; readonly type: Type | undefined; inner: Type | undefined; field: Field | undefined }
  | { readonly kind: "inputs"; readonly inputs: readonly Input[]; key: Input | undefined }
  | { readonly kind: "variables" };

/** The names that may stand at the caret. */
export function complete(schema: Schema, document: string, caret: number): Completion {
  const before = tokens(document).filter(({ start }) => start < caret);
  const last = before.at(-1);
  const isPartial = last !== undefined && last.end >= caret && (last.kind === "name" || last.kind === "variable");
  if (last !== undefined && last.end > caret && !isPartial) return { start: caret, choices: [] };
  const read = isPartial ? before.slice(0, -1) : before;
  const start = isPartial ? last.start : caret;
  const prefix = document.slice(start, caret).toLowerCase();
  const choices = choicesAfter(schema, read, document).filter(({ text }) => text.toLowerCase().startsWith(prefix));
  return { start, choices };
}

function choicesAfter(schema: Schema, read: readonly Token[], document: string): Choice[] {
  const { frames, afterColon } = follow(schema, read);
  const frame = frames.at(-1);
  const last = read.at(-1)?.text;
  if (last === "@") return [];
  if (frame === undefined) return KINDS.filter((kind) => schema.root(kind)).map((text) => ({ text, note: "operation" }));
  if (frame.kind === "variables") return afterColon ? inputTypes(schema) : [];
  if (frame.kind === "selection") {
    const fields = frame.type?.fields ?? [];
    return [...fields.map(({ name, type }) => ({ text: name, note: show(type) })), { text: "__typename", note: "String!" }];
  }
  if (afterColon) return valuesOf(schema, frame.key, document);
  return frame.inputs.map(({ name, type }) => ({ text: name, note: show(type) }));
}

function inputTypes(schema: Schema): Choice[] {
  const types = schema.types.filter(({ kind }) => ["SCALAR", "ENUM", "INPUT_OBJECT"].includes(kind));
  return types.map(({ name, kind }) => ({ text: name, note: kind.toLowerCase().replace("_", " ") }));
}

function valuesOf(schema: Schema, input: Input | undefined, document: string): Choice[] {
  if (input === undefined) return [];
  const type = schema.type(nameOf(input.type));
  const own = type?.name === "Boolean" ? ["true", "false"] : (type?.enumValues ?? []).map(({ name }) => name);
  const all = tokens(document);
  const declared = new Set(all.flatMap(({ kind, text }, at) => (kind === "variable" && all[at + 1]?.text === ":" ? [text] : [])));
  return [...own.map((text) => ({ text, note: type?.name ?? "" })), ...[...declared].map((text) => ({ text, note: "variable" }))];
}

/** The brackets that are open after the tokens. */
function follow(schema: Schema, read: readonly Token[]): { frames: Frame[]; afterColon: boolean } {
  const frames: Frame[] = [];
  // Of the definition that has begun.
  let root: Type | undefined = schema.root("query");
  let [previous, beforePrevious]: (string | undefined)[] = [];
  for (const { kind, text } of read) {
    const frame = frames.at(-1);
    if (kind === "name") {
      if (frame === undefined) {
        const operation = KINDS.find((one) => one === text);
        // The name of an operation is no kind: it follows one.
        if (operation !== undefined && !KINDS.some((one) => one === previous)) root = schema.root(operation);
        if (previous === "on") root = schema.type(text);
      } else if (frame.kind === "selection" && previous !== "@") {
        if (previous === "on" && beforePrevious === "...") frame.inner = schema.type(text);
        else if (previous !== "...") select(schema, frame, text);
      } else if (frame.kind === "inputs" && previous !== ":") {
        frame.key = frame.inputs.find(({ name }) => name === text);
      }
    } else if (text === "..." && frame?.kind === "selection") {
      // An inline fragment without a condition.
      [frame.inner, frame.field] = [frame.type, undefined];
    } else if (text === "(") {
      if (frame === undefined) frames.push({ kind: "variables" });
      else frames.push({ kind: "inputs", inputs: frame.kind === "selection" ? (frame.field?.args ?? []) : [], key: undefined });
    } else if (text === "{") {
      frames.push(opened(schema, frame, root));
    } else if (text === "[" && frame?.kind === "inputs") {
      frames.push({ kind: "inputs", inputs: [], key: frame.key });
    } else if (text === "[" && frame !== undefined) {
      frames.push({ kind: "variables" });
    } else if ([")", "}", "]"].includes(text)) {
      frames.pop();
      if (frames.length === 0 && text === "}") root = schema.root("query");
    }
    [beforePrevious, previous] = [previous, text];
  }
  // A list has no names, but values.
  return { frames, afterColon: previous === ":" || previous === "[" };
}

/** Notes the field of a selection. */
function select(schema: Schema, frame: Extract<Frame, { kind: "selection" }>, name: string): void {
  frame.field = frame.type?.fields?.find((field) => field.name === name);
  frame.inner = frame.field && schema.type(nameOf(frame.field.type));
}

function opened(schema: Schema, frame: Frame | undefined, root: Type | undefined): Frame {
  if (frame === undefined || frame.kind === "selection") {
    return { kind: "selection", type: frame === undefined ? root : frame.inner, inner: undefined, field: undefined };
  }
  const key = frame.kind === "inputs" ? frame.key : undefined;
  return { kind: "inputs", inputs: (key === undefined ? undefined : schema.type(nameOf(key.type))?.inputFields) ?? [], key: undefined };
}
