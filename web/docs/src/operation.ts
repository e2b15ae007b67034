// Shows an operation: what it does, what it takes, what it returns, and how to call it.

import { type Child, h } from "../../console/src/dom.js";
import { curl } from "./curl.js";
import { nameOf, type OpenApi, type Operation, type Parameter, type Reply, resolveReply } from "./document.js";
import { inline, markdown } from "./markdown.js";
import { facts, onDemand, showSchema } from "./schema.js";

/** How long the copy button confirms. */
const CONFIRM_MS = 2_000;

/** The operation as a section that opens. Its content is made when it first does. */
export function showOperation(document: OpenApi, operation: Operation): HTMLDetailsElement {
  const { operationId, method, path, summary = operationId, deprecated } = operation;
  const head = h(
    "summary",
    {},
    h("span", { class: `method ${method.toLowerCase()}` }, method),
    h("h3", {}, h("code", {}, ...breakable(path))),
    h("span", { class: "soft" }, deprecated === true && h("strong", {}, "Deprecated. "), ...inline(summary)),
  );
  const section = h("details", { class: "operation", id: operationId }, head);
  section.addEventListener("toggle", () => section.append(content(document, operation)), { once: true });
  return section;
}

/** A path that may break before its slashes. */
export function breakable(path: string): Child[] {
  return path.split(/(?=[/:])/).flatMap((part) => [h("wbr"), part]);
}

function content(document: OpenApi, operation: Operation): HTMLElement {
  const { description, parameters = [], requestBody } = operation;
  const body = requestBody?.content["application/json"]?.schema;
  return h(
    "div",
    { class: "content" },
    description !== undefined && markdown(description),
    h("ul", { class: "notes" }, ...notes(operation).map((note) => h("li", {}, note))),
    example(operation),
    ...(["path", "query", "header"] as const).flatMap((place) => showParameters(document, place, parameters)),
    requestBody !== undefined && h("h4", {}, "Body"),
    requestBody?.description !== undefined && h("p", { class: "soft" }, requestBody.description),
    body !== undefined && showSchema(document, body),
    h("h4", {}, "Responses"),
    h("ul", { class: "responses" }, ...Object.entries(operation.responses).map(([status, reply]) => response(document, status, reply))),
  );
}

/** The access, the limits and the deadline. */
function notes(operation: Operation): string[] {
  const { security, "x-rate-limit": limits = [], "x-stream-limit": streams, "x-deadline-seconds": deadline } = operation;
  const access = security === undefined ? [] : [security.length > 0 ? "Needs an access token." : "Needs no credential."];
  const rates = limits.map(({ requests = 0, periodSeconds = 0, burst, cost }) => {
    const atOnce = burst === undefined ? "" : `, ${burst} at once`;
    return `At most ${requests} calls in ${periodSeconds} s${atOnce}${cost === undefined ? "" : `, each counts as ${cost}`}.`;
  });
  const open = streams?.streams === undefined ? [] : [`At most ${streams.streams} open streams.`];
  return [...access, ...rates, ...open, ...(deadline === undefined ? [] : [`Deadline ${deadline} s.`])];
}

function example(operation: Operation): HTMLElement {
  const text = curl(operation, location.origin);
  const confirmation = h("span", { role: "status", class: "soft" });
  const copy = async () => {
    const copied = await navigator.clipboard.writeText(text).then(
      () => "Copied",
      () => "The browser does not allow copying. Select the text.",
    );
    confirmation.textContent = copied;
    setTimeout(() => confirmation.replaceChildren(), CONFIRM_MS);
  };
  const button = h("button", { type: "button", class: "copy", on: { click: () => void copy() } }, "Copy");
  return h(
    "div",
    { class: "example" },
    h("div", { class: "bar" }, h("h4", {}, "curl"), confirmation, button),
    // Focusable, so that the keyboard scrolls it.
    h("pre", { tabindex: "0", "aria-label": `curl for ${operation.operationId}`, role: "region" }, h("code", {}, text)),
  );
}

function showParameters(document: OpenApi, place: Parameter["in"], all: readonly Parameter[]): HTMLElement[] {
  const own = all.filter((parameter) => parameter.in === place);
  if (own.length === 0) return [];
  const items = own.map(({ name, schema, description, required }) =>
    h(
      "li",
      {},
      h("code", { class: "name" }, name),
      " ",
      facts(document, schema),
      required === true && h("span", { class: "required" }, "required"),
      description !== undefined && h("p", {}, ...inline(description)),
    ),
  );
  const titles = { path: "Path", query: "Query", header: "Headers" };
  return [h("h4", {}, titles[place]), h("ul", { class: "members" }, ...items)];
}

function response(document: OpenApi, status: string, reply: Reply): HTMLElement {
  const { description = "", content: bodies = {}, headers = {} } = resolveReply(document, reply);
  const shown = Object.entries(bodies).flatMap(([type, { schema }]) =>
    schema === undefined ? [h("code", {}, type)] : [onDemand(type, () => showSchema(document, schema))],
  );
  const names = Object.entries(headers).map(([name, header]) => {
    const text = header.description ?? document.components.headers[nameOf(header.$ref ?? "")]?.description ?? "";
    return h("li", {}, h("code", { class: "name" }, name), " ", ...inline(text));
  });
  return h(
    "li",
    {},
    h("strong", { class: status.startsWith("2") ? "success" : "" }, status === "default" ? "other" : status),
    " ",
    ...inline(description),
    names.length > 0 && onDemand("Headers", () => h("ul", { class: "members" }, ...names)),
    ...shown,
  );
}
