// The operations that ran in this tab, the newest first. They may hold secrets, so they are forgotten with the tab.

import { h } from "../../console/src/dom.js";

const KEY = "trellis.explorer.history";
const MOST = 30;
/** A longer entry is not kept. */
const MOST_CHARACTERS = 20_000;

export interface Entry {
  readonly document: string;
  readonly variables: string;
}

export class History {
  readonly element = h("details", { class: "history" });
  readonly #list = h("ul", {});
  readonly #open: (entry: Entry) => void;
  #entries: readonly Entry[] = read();

  constructor(open: (entry: Entry) => void) {
    this.#open = open;
    const clear = h("button", { type: "button", class: "small", on: { click: () => this.#keep([]) } }, "Clear");
    this.element.append(h("summary", {}, "History"), h("div", { class: "inner" }, this.#list, clear));
    this.#show();
  }

  /** The entry that ran last. */
  get newest(): Entry | undefined {
    return this.#entries[0];
  }

  add(entry: Entry): void {
    if (entry.document.length + entry.variables.length > MOST_CHARACTERS) return;
    const others = this.#entries.filter(({ document, variables }) => document !== entry.document || variables !== entry.variables);
    this.#keep([entry, ...others].slice(0, MOST));
  }

  #keep(entries: readonly Entry[]): void {
    this.#entries = entries;
    // A browser may refuse to store.
    try {
      sessionStorage.setItem(KEY, JSON.stringify(entries));
    } catch {}
    this.#show();
  }

  #show(): void {
    const items = this.#entries.map((entry) => {
      const title = entry.document.replace(/\s+/g, " ").trim().slice(0, 80);
      return h("li", {}, h("button", { type: "button", class: "insert", on: { click: () => this.#open(entry) } }, h("code", {}, title)));
    });
    this.#list.replaceChildren(...(items.length > 0 ? items : [h("li", { class: "soft" }, "Operations that you run appear here.")]));
  }
}

function read(): readonly Entry[] {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(stored) ? (stored as Entry[]).filter((one) => typeof one?.document === "string" && typeof one.variables === "string") : [];
  } catch {
    return [];
  }
}
