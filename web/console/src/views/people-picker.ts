// Choosing people from the directory.

import type { Trellis, users } from "../../../client/src/index.js";
import { h, newId, setText } from "../dom.js";
import { explain } from "../explain.js";
import type { Chats } from "../model/chats.js";
import { avatar } from "./avatar.js";

const PAGE = 50;
/** Typing pauses for so long before the directory is asked. */
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
  /** The newest search; answers to older ones are dropped. */
  #search = 0;
  #typing: ReturnType<typeof setTimeout> | undefined;

  /** People of `left` are not offered. */
  constructor(usersClient: Trellis["users"], chats: Chats, left: readonly string[], changed: () => void) {
    this.#left = new Set([chats.userId, ...left]);
    this.#users = usersClient;
    this.#chats = chats;
    this.#changed = changed;
    const id = newId("search");
    const literal = { autocapitalize: "none", autocorrect: "off", spellcheck: "false", autocomplete: "off" };
    const on = { input: () => this.#onInput() };
    this.#input = h("input", { id, class: "input", type: "search", placeholder: "ada", ...literal, on });
    this.#more = h("button", { class: "link", type: "button", on: { click: () => void this.#read() } }, "Show more");
    this.#more.hidden = true;
    const search = h("div", { class: "field" }, h("label", { for: id }, "Find people by handle"), this.#input);
    const results = h("fieldset", { class: "people-scroll" }, h("legend", { class: "visually-hidden" }, "People"));
    results.append(this.#list, this.#note, this.#more);
    this.element = h("div", { class: "picker" }, search, results);
    void this.#restart();
  }

  #onInput(): void {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => void this.#restart(), TYPING_MS);
  }

  async #restart(): Promise<void> {
    this.#search += 1;
    this.#pageToken = "";
    await this.#read();
  }

  async #read(): Promise<void> {
    const search = this.#search;
    const handlePrefix = this.#input.value.trim().replace(/^@/, "").toLowerCase();
    const request = { handlePrefix, pageSize: PAGE, pageToken: this.#pageToken };
    const isFirst = this.#pageToken === "";
    try {
      const answer = await this.#users.listUsers(request);
      if (search !== this.#search) return;
      this.#pageToken = answer.nextPageToken;
      this.#show(answer.users, isFirst);
    } catch (error) {
      if (search !== this.#search) return;
      this.#list.replaceChildren();
      this.#more.hidden = true;
      setText(this.#note, explain(error));
    }
  }

  #show(found: users.User[], isFirst: boolean): void {
    this.#chats.people.learn(found);
    const others = found.filter(({ userId }) => !this.#left.has(userId));
    // Who is chosen stays in sight, whatever is searched for.
    const kept = isFirst ? [...this.chosen.values()] : [];
    const rows = [...kept, ...others.filter(({ userId }) => !isFirst || !this.chosen.has(userId))];
    const items = rows.map((user) => this.#item(user));
    if (isFirst) this.#list.replaceChildren(...items);
    else this.#list.append(...items);
    this.#more.hidden = this.#pageToken === "";
    setText(this.#note, rows.length === 0 && this.#pageToken === "" && isFirst ? "Nobody was found. People you have not talked to are found by their whole handle." : "");
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
