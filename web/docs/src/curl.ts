// A call as a command line for curl.

import type { Operation, Parameter } from "./document.js";

export function curl(operation: Operation, origin: string): string {
  const { method, parameters = [], requestBody, security = [] } = operation;
  const content = requestBody?.content["application/json"];
  const lines = [`curl ${method === "GET" ? "" : `-X ${method} `}${quote(origin + target(operation.path, parameters))}`];
  if (security.length > 0) lines.push('-H "authorization: Bearer $TOKEN"');
  if (content !== undefined) {
    lines.push("-H 'content-type: application/json'", `-d ${quote(JSON.stringify(content.example ?? {}))}`);
  }
  // Bytes are sent from a file, without reading it into memory.
  if (requestBody?.content["*/*"] !== undefined) lines.push("-H 'content-type: application/octet-stream'", "-T FILE");
  if (isStream(operation)) lines.push("--no-buffer");
  return lines.join(" \\\n  ");
}

function isStream({ responses }: Operation): boolean {
  return responses["200"]?.content?.["application/x-ndjson"] !== undefined;
}

/** The path and query, with the examples of the parameters. */
function target(path: string, parameters: readonly Parameter[]): string {
  const inPath = parameters.filter((parameter) => parameter.in === "path");
  const filled = inPath.reduce(
    (text, { name, example }) => text.replace(`{${name}}`, example === undefined ? name : encodeURIComponent(String(example))),
    path,
  );
  const query = parameters
    .filter((parameter) => parameter.in === "query" && parameter.example !== undefined)
    .flatMap(({ name, example }) => (Array.isArray(example) ? example : [example]).map((value) => `${name}=${encodeURIComponent(String(value))}`));
  return query.length === 0 ? filled : `${filled}?${query.join("&")}`;
}

/** Quotes a text for a POSIX shell. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
