// The reference page: one OpenAPI document at a time, grouped by service, with a search.

import "../../console/src/styles/base.css";
import "./docs.css";

import { h } from "../../console/src/dom.js";
import { type Listed, list, load, type OpenApi, type Operation, operations } from "./document.js";
import { markdown } from "./markdown.js";
import { breakable, showOperation } from "./operation.js";
import { shortName } from "./schema.js";

/** An operation on the page, with the words that a search finds it by. */
interface Entry {
  readonly section: HTMLDetailsElement;
  readonly link: HTMLElement;
  readonly words: string;
}

/** A service on the page. */
interface Group {
  readonly section: HTMLElement;
  readonly links: HTMLElement;
  readonly entries: readonly Entry[];
}

const search = h("input", { type: "search", id: "search", placeholder: "Search operations", "aria-label": "Search operations" });
const count = h("p", { class: "soft", role: "status" });
const nav = h("nav", { "aria-label": "Operations" });
const main = h("main", { id: "main", tabindex: "-1" });
let groups: readonly Group[] = [];

async function start(): Promise<void> {
  const { documents, explorer } = await list();
  const first = documents.find(({ path }) => path === new URLSearchParams(location.search).get("document")) ?? documents[0];
  const header = h("header", {}, h("h1", {}, "API reference"), picker(documents, first), explorer !== undefined && h("a", { href: explorer }, "GraphQL explorer"), search);
  document.querySelector("#app")?.replaceChildren(
    h("a", { href: "#main", class: "skip" }, "Skip to the operations"),
    header,
    h("div", { class: "columns" }, nav, main),
  );
  search.addEventListener("input", filter);
  addEventListener("hashchange", openTarget);
  addEventListener("keydown", focusSearch);
  if (first !== undefined) await open(first);
}

/** The choice between the mesh's document and those of external upstreams. */
function picker(documents: readonly Listed[], chosen: Listed | undefined): HTMLElement | false {
  if (documents.length < 2) return false;
  const options = documents.map(({ title, path }) => h("option", { value: path, selected: path === chosen?.path }, title));
  const select = h("select", { "aria-label": "Document" }, ...options);
  select.addEventListener("change", () => {
    const next = documents.find(({ path }) => path === select.value);
    if (next === undefined) return;
    history.replaceState(null, "", `?${new URLSearchParams({ document: next.path })}`);
    open(next).catch(fail);
  });
  return select;
}

async function open(listed: Listed): Promise<void> {
  const api = await load(listed.path);
  document.title = `${api.info.title} API reference`;
  groups = groupsOf(api);
  nav.replaceChildren(...groups.map(({ links }) => links));
  main.replaceChildren(
    h("h2", {}, api.info.title),
    h("p", { class: "soft" }, `Version ${api.info.version}. `, h("a", { href: listed.path }, listed.path)),
    ...(api.info.description === undefined ? [] : [h("details", { class: "nested" }, h("summary", {}, "Conventions"), markdown(api.info.description))]),
    count,
    ...groups.map(({ section }) => section),
  );
  filter();
  openTarget();
}

function groupsOf(api: OpenApi): Group[] {
  const all = operations(api);
  return (api.tags ?? []).map(({ name, description }) => {
    const entries = all.filter(({ tags }) => tags?.includes(name)).map((operation) => entry(api, operation));
    const section = h(
      "section",
      {},
      h("h2", { id: name }, shortName(name)),
      description !== undefined && markdown(description),
      ...entries.map((one) => one.section),
    );
    const links = h("div", {}, h("p", { class: "service" }, shortName(name)), h("ul", {}, ...entries.map(({ link }) => link)));
    return { section, links, entries };
  });
}

function entry(api: OpenApi, operation: Operation): Entry {
  const { method, path, operationId, summary = "", description = "" } = operation;
  const link = h("li", {}, h("a", { href: `#${operationId}` }, h("span", { class: "soft" }, `${method} `), ...breakable(path)));
  return {
    section: showOperation(api, operation),
    link,
    words: [method, path, operationId, summary, description].join(" ").toLowerCase(),
  };
}

/** Shows the operations with all words of the search. */
function filter(): void {
  const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { section, links, entries } of groups) {
    const found = entries.filter((one) => {
      const matches = wanted.every((word) => one.words.includes(word));
      one.section.hidden = one.link.hidden = !matches;
      return matches;
    });
    section.hidden = links.hidden = found.length === 0;
    shown += found.length;
  }
  count.textContent = shown === 1 ? "1 operation" : `${shown === 0 ? "No" : shown} operations`;
}

/** Opens the operation that the address names. */
function openTarget(): void {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!(target instanceof HTMLDetailsElement)) return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary")?.focus({ preventScroll: true });
}

/** `/` moves to the search. */
function focusSearch(event: KeyboardEvent): void {
  const isText = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (event.key !== "/" || isText || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
}

function fail(error: unknown): void {
  const message = "The API description could not be loaded. Check the connection, then reload the page.";
  const details = h("p", { class: "soft" }, String(error));
  document.querySelector("#app")?.replaceChildren(h("main", {}, h("h1", {}, "API reference"), h("p", { role: "alert" }, message), details));
}

start().catch(fail);
