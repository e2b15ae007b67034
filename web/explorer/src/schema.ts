// The schema of the gateway, read by introspection.

export interface TypeRef {
  readonly kind: string;
  readonly name: string | null;
  readonly ofType?: TypeRef | null;
}

/** An argument, or a field of an input object. */
export interface Input {
  readonly name: string;
  readonly description?: string | null;
  readonly type: TypeRef;
}

export interface Field {
  readonly name: string;
  readonly description?: string | null;
  readonly args: readonly Input[];
  readonly type: TypeRef;
}

export interface EnumValue {
  readonly name: string;
  readonly description?: string | null;
}

export interface Type {
  readonly kind: string;
  readonly name: string;
  readonly description?: string | null;
  readonly fields?: readonly Field[] | null;
  readonly inputFields?: readonly Input[] | null;
  readonly enumValues?: readonly EnumValue[] | null;
}

export interface Introspected {
  readonly queryType: { readonly name: string } | null;
  readonly mutationType: { readonly name: string } | null;
  readonly subscriptionType: { readonly name: string } | null;
  readonly types: readonly Type[];
}

export type Kind = "query" | "mutation" | "subscription";
export const KINDS: readonly Kind[] = ["query", "mutation", "subscription"];

const TYPE = "kind name ofType { kind name ofType { kind name ofType { kind name } } }";
const INPUT = `name description type { ${TYPE} }`;

/** The query that reads the schema. */
export const INTROSPECTION = `{ __schema {
  queryType { name } mutationType { name } subscriptionType { name }
  types { kind name description
    fields { name description args { ${INPUT} } type { ${TYPE} } }
    inputFields { ${INPUT} } enumValues { name description } } } }`;

export class Schema {
  readonly #types: ReadonlyMap<string, Type>;
  readonly #roots: Readonly<Record<Kind, string | undefined>>;

  constructor({ types, queryType, mutationType, subscriptionType }: Introspected) {
    this.#types = new Map(types.map((type) => [type.name, type]));
    this.#roots = { query: queryType?.name, mutation: mutationType?.name, subscription: subscriptionType?.name };
  }

  type(name: string | undefined): Type | undefined {
    return name === undefined ? undefined : this.#types.get(name);
  }

  /** The type with the root fields of a kind of operation. */
  root(kind: Kind): Type | undefined {
    return this.type(this.#roots[kind]);
  }

  /** The types of the API itself, by name. */
  get types(): readonly Type[] {
    const roots = new Set(Object.values(this.#roots));
    const own = [...this.#types.values()].filter(({ name }) => !name.startsWith("__") && !roots.has(name));
    return own.sort((one, other) => one.name.localeCompare(other.name));
  }
}

/** The name of a type without its lists and exclamation marks. */
export function nameOf(type: TypeRef): string {
  return type.ofType ? nameOf(type.ofType) : (type.name ?? "");
}

/** A type as in the schema definition language: `[User!]!`. */
export function show(type: TypeRef): string {
  if (type.kind === "NON_NULL") return `${type.ofType ? show(type.ofType) : ""}!`;
  if (type.kind === "LIST") return `[${type.ofType ? show(type.ofType) : ""}]`;
  return type.name ?? "";
}

export function isRequired({ type }: Input): boolean {
  return type.kind === "NON_NULL";
}
