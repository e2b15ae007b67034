// Asks for confirmation before a block.

import { h, setText } from "../dom.js";
import { explain } from "../explain.js";
import { isolate } from "../format.js";
import type { Chats } from "../model/chats.js";
import type { Thread } from "../model/thread.js";
import { confirmDialog } from "./dialog.js";

export function askToBlock(chats: Chats, userId: string, block: () => void): void {
  const { name } = chats.people.get(userId);
  const text =
    "They can no longer write to you in a conversation of two, invite you or add you. " +
    "They get no notice, but a message to you is refused. " +
    "Conversations that you are both in stay: leave those that you no longer want. You can unblock them in your account, under Privacy.";
  confirmDialog(`Block ${isolate(name)}?`, text, "Block", block);
}

/** Stands above the messages of a conversation of two with a user whom one has blocked. */
export class BlockBanner {
  readonly element: HTMLElement;
  readonly #text = h("p", {});
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #chats: Chats;
  readonly #thread: Thread;

  constructor(chats: Chats, thread: Thread) {
    this.#chats = chats;
    this.#thread = thread;
    const unblock = h("button", { class: "button small", type: "button", on: { click: () => void this.#unblock() } }, "Unblock");
    const choice = h("div", { class: "choice" }, unblock);
    this.element = h("div", { class: "request", role: "group", "aria-label": "Block" }, this.#text, choice, this.#problem);
  }

  render(): void {
    const id = this.#blockedId;
    this.element.hidden = id === undefined;
    if (id !== undefined) setText(this.#text, `You blocked ${isolate(this.#chats.people.get(id).name)}.`);
  }

  get #blockedId(): string | undefined {
    const { memberCount, others } = this.#thread;
    const [other] = others;
    return memberCount === 2 && other !== undefined && this.#chats.blocks.has(other) ? other : undefined;
  }

  async #unblock(): Promise<void> {
    setText(this.#problem, "");
    try {
      await this.#chats.blocks.unblock(this.#blockedId ?? "");
    } catch (error) {
      setText(this.#problem, explain(error));
    }
  }
}
