// The privacy tab: the rule for adding the user to conversations, and the blocked users.

import { messaging } from "../../../../client/src/index.js";
import { h, setText } from "../../dom.js";
import { explain } from "../../explain.js";
import { isolate } from "../../format.js";
import { type ItemView, KeyedList } from "../../keyed-list.js";
import type { Chats } from "../../model/chats.js";
import { avatar } from "../avatar.js";
import { Choices } from "../choices.js";
import { loaded } from "../loaded.js";
import type { Account } from "./account-dialog.js";

const RULES = [
  {
    value: messaging.AddRule.ANYONE,
    label: "Everyone",
    hint: "Any user of this server can add you directly.",
  },
  {
    value: messaging.AddRule.CONTACTS,
    label: "People you talk with",
    hint: "Other users send an invitation or a request, which you can accept or decline.",
  },
  {
    value: messaging.AddRule.NO_ONE,
    label: "No one",
    hint: "Other users cannot add or invite you. You can still start conversations.",
  },
] as const;

export function privacyPanel(account: Account): HTMLElement {
  const { messaging: client } = account.trellis;
  const read = async () => (await client.getSettings({})).settings?.addRule ?? messaging.AddRule.UNSPECIFIED;
  const rule = loaded("your settings", read, (chosen) => ruleChoices(account, chosen));
  const blocked = loaded("the people you blocked", () => account.chats.blocks.read(), () => new BlockedList(account).element);
  const heading = h("h3", {}, "Blocked people");
  return h("div", { class: "panel-parts" }, h("section", {}, rule), h("section", {}, heading, blocked));
}

function ruleChoices({ trellis }: Account, chosen: messaging.AddRule): HTMLElement {
  const save = async (addRule: messaging.AddRule) => {
    await trellis.messaging.updateSettings({ settings: { addRule }, updateMask: { paths: ["add_rule"] } });
  };
  return new Choices<messaging.AddRule>({ legend: "People who may add you to conversations", options: RULES, chosen, save }).element;
}

class BlockedList {
  readonly element: HTMLElement;
  readonly #chats: Chats;
  readonly #list = h("ul", { class: "sessions", "aria-label": "Blocked people" });
  readonly #items: KeyedList<string>;
  readonly #empty = h("p", { class: "dialog-text" }, "You have not blocked any people. To block a person, open the details of a conversation.");
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #success = h("p", { class: "success", role: "status", tabindex: "-1" });

  constructor({ chats }: Account) {
    this.#chats = chats;
    this.#items = new KeyedList(this.#list, (id) => id, (id) => this.#item(id));
    this.element = h("div", { class: "form" }, this.#list, this.#empty, this.#problem, this.#success);
    const stop = chats.onChange(() => (this.element.isConnected ? this.#render() : stop()));
    this.#render();
  }

  #render(): void {
    const { ids } = this.#chats.blocks;
    this.#list.hidden = ids.length === 0;
    this.#empty.hidden = ids.length > 0;
    this.#items.render(ids);
  }

  #item(id: string): ItemView<string> {
    const picture = h("span", {});
    const name = h("span", {});
    const handle = h("small", {});
    const button = h("button", { class: "button small", type: "button", on: { click: () => void this.#unblock(id) } }, "Unblock");
    const names = h("span", { class: "person-names" }, name, handle);
    const update = () => {
      const person = this.#chats.people.get(id);
      if (name.textContent !== person.name) picture.replaceChildren(avatar(id, person.name));
      setText(name, person.name);
      setText(handle, person.handle && `@${person.handle}`);
      button.setAttribute("aria-label", `Unblock ${isolate(person.name)}`);
    };
    return { element: h("li", { class: "session" }, picture, names, button), update };
  }

  async #unblock(id: string): Promise<void> {
    setText(this.#problem, "");
    try {
      await this.#chats.blocks.unblock(id);
      setText(this.#success, `${isolate(this.#chats.people.get(id).name)} is unblocked and can add or invite you again, as your settings allow.`);
      // The button with the focus was removed.
      this.#success.focus();
    } catch (error) {
      setText(this.#problem, explain(error));
    }
  }
}
