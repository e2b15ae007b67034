// The parts of an OpenAPI document that the page shows.

export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly additionalProperties?: Schema | boolean;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly format?: string;
  readonly contentSchema?: Schema;
  readonly [keyword: string]: unknown;
}

export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly required?: boolean;
  readonly description?: string;
  readonly schema: Schema;
  readonly example?: unknown;
}

export interface Content {
  readonly schema?: Schema;
  readonly example?: unknown;
}

export interface Reply {
  readonly $ref?: string;
  readonly description?: string;
  readonly content?: Readonly<Record<string, Content>>;
  readonly headers?: Readonly<Record<string, { readonly $ref?: string; readonly description?: string }>>;
}

interface OperationObject {
  readonly operationId: string;
  readonly tags?: readonly string[];
  readonly summary?: string;
  readonly description?: string;
  readonly deprecated?: boolean;
  readonly security?: readonly object[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: {
    readonly description?: string;
    readonly required?: boolean;
    readonly content: Readonly<Record<string, Content>>;
  };
  readonly responses: Readonly<Record<string, Reply>>;
  readonly "x-rate-limit"?: readonly RateLimit[];
  readonly "x-stream-limit"?: { readonly streams?: number };
  readonly "x-deadline-seconds"?: number;
}

interface RateLimit {
  readonly requests?: number;
  readonly periodSeconds?: number;
  readonly burst?: number;
  readonly cost?: number;
}

export interface Operation extends OperationObject {
  readonly method: string;
  readonly path: string;
}

export interface OpenApi {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string };
  readonly servers?: readonly { readonly url: string }[];
  readonly tags?: readonly { readonly name: string; readonly description?: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationObject>>>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, Schema>>;
    readonly responses: Readonly<Record<string, Reply>>;
    readonly headers: Readonly<Record<string, { readonly description?: string }>>;
  };
}

/** A document in the gateway's list. */
export interface Listed {
  readonly title: string;
  readonly path: string;
}

/** What the gateway serves beside this page. */
export interface Index {
  readonly documents: readonly Listed[];
  /** The path of the GraphQL explorer. */
  readonly explorer?: string;
}

/** The documents of the gateway: its own first. */
export async function list(): Promise<Index> {
  const index = (await read("/openapi")) as Index;
  const isOwn = ({ path }: Listed) => Number(path === "/openapi.json");
  return { ...index, documents: [...index.documents].sort((one, other) => isOwn(other) - isOwn(one)) };
}

export async function load(path: string): Promise<OpenApi> {
  return (await read(path)) as OpenApi;
}

async function read(path: string): Promise<unknown> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response.json();
}

/** All operations, in the order of the document. */
export function operations(document: OpenApi): readonly Operation[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
  );
}

/** The last part of a reference, such as the name of a schema. */
export function nameOf(reference: string): string {
  return reference.slice(reference.lastIndexOf("/") + 1);
}

export function resolveSchema(document: OpenApi, schema: Schema): Schema {
  const named = schema.$ref === undefined ? undefined : document.components.schemas[nameOf(schema.$ref)];
  // A member beside the reference, such as a description, takes precedence.
  return named === undefined ? schema : { ...named, ...schema };
}

export function resolveReply(document: OpenApi, reply: Reply): Reply {
  return (reply.$ref === undefined ? undefined : document.components.responses[nameOf(reply.$ref)]) ?? reply;
}
