// The open conversation.

import { h, setText } from "../dom.js";
import { icon } from "../icons.js";
import type { Chats } from "../model/chats.js";
import type { Thread } from "../model/thread.js";
import { leaveConversation } from "../route.js";
import { avatar } from "./avatar.js";
import { Composer } from "./composer.js";
import { MessageList } from "./message-list.js";
import { avatarIdOf, detailOf, nameOf } from "./names.js";

export class ConversationView {
  readonly element: HTMLElement;
  readonly thread: Thread;
  readonly #chats: Chats;
  readonly #picture = h("span", { class: "conversation-picture" });
  readonly #name = h("h2", { class: "conversation-title", tabindex: "-1" });
  readonly #detail = h("p", { class: "conversation-detail" });
  readonly #messages: MessageList;
  readonly #composer: Composer;

  constructor(chats: Chats, thread: Thread, drafts: Map<string, string>) {
    this.#chats = chats;
    this.thread = thread;
    this.#messages = new MessageList(chats, thread, "Messages");
    this.#composer = new Composer({
      label: "Message",
      draft: drafts.get(thread.id) ?? "",
      keepDraft: (text) => drafts.set(thread.id, text),
      send: (text) => {
        chats.outbox.enqueue(thread.id, text);
        this.#messages.scrollToEnd();
      },
    });
    const back = { class: "button quiet round back", type: "button", on: { click: leaveConversation } };
    const header = h(
      "header",
      { class: "bar" },
      h("button", { ...back, "aria-label": "Back to the conversations" }, icon("back")),
      this.#picture,
      h("div", { class: "conversation-heading" }, this.#name, this.#detail),
    );
    this.element = h("section", { class: "conversation-view" }, header, this.#messages.element, this.#composer.element);
  }

  /** Where there is a keyboard, the next thing is to write; a phone would cover the page with its own. */
  focus(): void {
    if (window.matchMedia("(hover: hover)").matches) this.#composer.focus();
    else this.#name.focus();
  }

  render(): void {
    const name = nameOf(this.#chats, this.thread);
    if (this.#name.textContent !== name) {
      this.#picture.replaceChildren(avatar(avatarIdOf(this.#chats, this.thread), name));
    }
    setText(this.#name, name);
    setText(this.#detail, detailOf(this.#chats, this.thread));
    this.#messages.render();
  }
}
