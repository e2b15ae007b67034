// The open conversation.

import { h, setText } from "../dom.js";
import { explain } from "../explain.js";
import { icon } from "../icons.js";
import type { Chats, Connection } from "../model/chats.js";
import type { StoredMessage } from "../model/actions.js";
import { rowsOf } from "../model/rows.js";
import type { Thread } from "../model/thread.js";
import type { Drafts } from "../model/drafts.js";
import { leaveConversation } from "../route.js";
import { avatar } from "./avatar.js";
import { BlockBanner } from "./blocking.js";
import { Composer } from "./composer.js";
import { type DetailsParts, detailsDialog } from "./details.js";
import { confirmDialog } from "./dialog.js";
import { RequestBanner } from "./invitations.js";
import { MessageList } from "./message-list.js";
import { avatarIdOf, avatarNameOf, detailOf, nameOf } from "./names.js";

const OFFLINE: Readonly<Partial<Record<Connection, string>>> = {
  reconnecting: "No connection. Your messages are sent when it returns.",
  lost: "Disconnected. Reload the page to continue.",
};

export class ConversationView {
  readonly element: HTMLElement;
  readonly thread: Thread;
  readonly #chats: Chats;
  readonly #picture = h("span", { class: "conversation-picture" });
  /** The heading, the only one on a phone while a conversation is open. */
  readonly #name = h("h1", { class: "conversation-title", tabindex: "-1" });
  readonly #detail = h("p", { class: "conversation-detail" });
  /** The connection state, because a phone hides the sidebar while a conversation is open. */
  readonly #offline = h("p", { class: "conversation-offline", role: "status" });
  readonly #problem = h("p", { class: "problem conversation-problem", role: "alert" });
  readonly #request: RequestBanner;
  readonly #block: BlockBanner;
  readonly #messages: MessageList;
  readonly #composer: Composer;

  constructor(parts: DetailsParts, thread: Thread, drafts: Drafts) {
    const { chats, actions } = parts;
    this.#chats = chats;
    this.thread = thread;
    const edit = (message: StoredMessage) => {
      const save = (text: string) => actions.edit(thread, message, text);
      this.#composer.revise({ text: message.text, save });
    };
    const deleteMessage = (message: StoredMessage) => {
      const act = () => void actions.deleteMessage(thread, message).catch((error) => setText(this.#problem, explain(error)));
      setText(this.#problem, "");
      confirmDialog("Delete this message?", "It is deleted for all members. This cannot be undone.", "Delete", act);
    };
    this.#request = new RequestBanner(chats, actions, thread);
    this.#block = new BlockBanner(chats, thread);
    this.#messages = new MessageList(chats, thread, { edit, deleteMessage });
    this.#composer = new Composer({
      label: "Message",
      draft: () => drafts.get(thread.id),
      keepDraft: (text) => drafts.set(thread.id, text),
      send: (text) => {
        chats.outbox.enqueue(thread.id, text);
        this.#messages.follow();
      },
      editLast: () => {
        const last = rowsOf(chats, thread, new Date()).findLast((row) => row.kind === "message" && row.canEdit);
        if (last?.kind === "message" && last.stored) edit(last.stored);
      },
    });
    const back = { class: "button quiet round back", type: "button", on: { click: leaveConversation } };
    const details = { class: "button quiet round", type: "button", on: { click: () => detailsDialog(parts, thread) } };
    const header = h(
      "header",
      { class: "bar" },
      h("button", { ...back, "aria-label": "Back to the conversations" }, icon("back")),
      this.#picture,
      h("div", { class: "conversation-heading" }, this.#name, this.#detail),
      h("button", { ...details, "aria-label": "Conversation details" }, icon("people")),
    );
    const above = [header, this.#offline, this.#request.element, this.#block.element];
    this.element = h("section", { class: "conversation-view" }, ...above, this.#messages.element, this.#problem, this.#composer.element);
  }

  /** Focuses the composer, except on a phone, whose on-screen keyboard would cover the page. */
  focus(): void {
    if (window.matchMedia("(hover: hover)").matches) this.#composer.focus();
    else this.#name.focus();
  }

  /** Marks the messages on the screen as read. */
  noteSeen(): void {
    this.#messages.noteSeen();
  }

  render(): void {
    const name = nameOf(this.#chats, this.thread);
    if (this.#name.textContent !== name) {
      this.#picture.replaceChildren(avatar(avatarIdOf(this.thread), avatarNameOf(this.#chats, this.thread)));
    }
    setText(this.#name, name);
    setText(this.#detail, detailOf(this.#chats, this.thread));
    setText(this.#offline, OFFLINE[this.#chats.connection] ?? "");
    this.#request.render();
    this.#block.render();
    this.#messages.render();
  }
}
