// Chooses people from the directory.

import type { Trellis, users } from "../../../client/src/index.js";
import { h, newId, setText } from "../dom.js";
import { Advice, explain } from "../explain.js";
import type { Chats } from "../model/chats.js";
import { avatar } from "./avatar.js";
import { isComposing } from "./composer.js";

const PAGE = 50;
/** The pause in typing before the directory is searched. */
const TYPING_MS = 180;

export class PeoplePicker {
  readonly element: HTMLElement;
  readonly chosen = new Map<string, users.User>();
  readonly #users: Trellis["users"];
  readonly #chats: Chats;
  readonly #left: ReadonlySet<string>;
  readonly #changed: () => void;
  readonly #input: HTMLInputElement;
  readonly #list = h("ul", { class: "people" });
  readonly #note = h("p", { class: "people-note", role: "status" });
  readonly #more: HTMLButtonElement;
  #pageToken = "";
  /** The newest search. Responses to older ones are dropped. */
  #search = 0;
  #typing: ReturnType<typeof setTimeout> | undefined;
  /** The query whose results are listed; `undefined` while a search for another one is to come or under way. */
  #listed: string | undefined;
  /** Enter was pressed while `#listed` was undefined: it takes effect when the results are there. */
  #enterWaits = false;

  /** Users for whom `left` returns true are not offered. */
  constructor(usersClient: Trellis["users"], chats: Chats, left: readonly string[], changed: () => void) {
    this.#left = new Set([chats.userId, ...left]);
    this.#users = usersClient;
    this.#chats = chats;
    this.#changed = changed;
    const id = newId("search");
    const literal = { autocapitalize: "none", autocorrect: "off", spellcheck: "false", autocomplete: "off" };
    const on = { input: () => this.#onInput(), keydown: (event: KeyboardEvent) => this.#onKey(event) };
    this.#input = h("input", { id, class: "input", type: "search", placeholder: "Ada or @ada", ...literal, on });
    this.#more = h("button", { class: "link", type: "button", on: { click: () => void this.#read() } }, "Show more");
    this.#more.hidden = true;
    const search = h("div", { class: "field" }, h("label", { for: id }, "Find people by name or handle"), this.#input);
    const arrows = { keydown: (event: KeyboardEvent) => this.#onArrow(event) };
    const results = h("fieldset", { class: "people-scroll", on: arrows }, h("legend", { class: "visually-hidden" }, "People"));
    results.append(this.#list, this.#note, this.#more);
    this.element = h("div", { class: "picker" }, search, results);
    void this.#restart();
  }

  /** Returns the chosen people, at least one. */
  required(): string[] {
    if (this.chosen.size > 0) return [...this.chosen.keys()];
    this.#input.focus();
    throw new Advice("Choose at least one person from the list first.");
  }

  /** Enter chooses the person if the search found exactly one, and never submits the form: the search may be in progress. */
  #onKey(event: KeyboardEvent): void {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.#boxes[0]?.focus();
    } else if (event.key === "Enter" && !isComposing(event)) {
      event.preventDefault();
      if (this.#listed === this.#query) this.#chooseOnly();
      else this.#enterWaits = true;
    }
  }

  #chooseOnly(): void {
    this.#enterWaits = false;
    const [only, ...others] = this.#boxes.filter((box) => !box.checked);
    if (only && others.length === 0 && this.#more.hidden && this.#query !== "") only.click();
  }

  #onArrow(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const at = this.#boxes.findIndex((box) => box === document.activeElement);
    if (step === undefined || at < 0) return;
    event.preventDefault();
    (this.#boxes[at + step] ?? (step < 0 ? this.#input : undefined))?.focus();
  }

  get #boxes(): HTMLInputElement[] {
    return [...this.#list.querySelectorAll<HTMLInputElement>("input")];
  }

  get #query(): string {
    return this.#input.value.trim();
  }

  #onInput(): void {
    clearTimeout(this.#typing);
    this.#listed = undefined;
    this.#enterWaits = false;
    this.#typing = setTimeout(() => void this.#restart(), TYPING_MS);
  }

  async #restart(): Promise<void> {
    this.#search += 1;
    this.#pageToken = "";
    await this.#read();
  }

  async #read(): Promise<void> {
    const search = this.#search;
    const query = this.#query;
    const request = { query, pageSize: PAGE, pageToken: this.#pageToken };
    const isFirst = this.#pageToken === "";
    // The next page is one of the listed query.
    if (!isFirst && this.#listed === undefined) return;
    try {
      const { users: found, nextPageToken } = await this.#users.listUsers(request);
      if (search !== this.#search) return;
      this.#pageToken = nextPageToken;
      this.#show(query, found, isFirst);
    } catch (error) {
      if (search !== this.#search) return;
      this.#enterWaits = false;
      this.#list.replaceChildren();
      this.#more.hidden = true;
      setText(this.#note, explain(error));
    }
  }

  #show(query: string, found: users.User[], isFirst: boolean): void {
    this.#chats.people.learn(found);
    const others = found.filter(({ userId }) => !this.#left.has(userId));
    // Chosen people stay visible during other searches.
    const kept = isFirst ? [...this.chosen.values()] : [];
    const rows = [...kept, ...others.filter(({ userId }) => !isFirst || !this.chosen.has(userId))];
    const items = rows.map((user) => this.#item(user));
    if (isFirst) this.#list.replaceChildren(...items);
    else this.#list.append(...items);
    this.#more.hidden = this.#pageToken === "";
    const isEmpty = isFirst && others.length === 0 && this.#pageToken === "";
    setText(this.#note, isEmpty ? nothingFound(query) : "");
    if (!isFirst || query !== this.#query) return;
    this.#listed = query;
    if (this.#enterWaits) this.#chooseOnly();
  }

  #item(user: users.User): HTMLElement {
    const box = h("input", { type: "checkbox", on: { change: () => this.#toggle(user, box.checked) } });
    box.checked = this.chosen.has(user.userId);
    const names = h("span", { class: "person-names" }, user.displayName, h("small", {}, `@${user.handle}`));
    return h("li", {}, h("label", { class: "person" }, box, avatar(user.userId, user.displayName), names));
  }

  #toggle(user: users.User, chosen: boolean): void {
    if (chosen) this.chosen.set(user.userId, user);
    else this.chosen.delete(user.userId);
    this.#changed();
  }
}

/** Explains an empty list. */
function nothingFound(query: string): string {
  if (query === "") return "This list is empty so far. Type a name or a handle.";
  return "No matches. If you have not talked with them yet, enter the full handle, such as @ada_l.";
}
