// The list of conversations.

import { h, setAttribute, setText } from "../dom.js";
import { isolate, shortTime } from "../format.js";
import { type ItemView, KeyedList } from "../keyed-list.js";
import type { Chats } from "../model/chats.js";
import type { ConversationActions } from "../model/actions.js";
import type { Thread } from "../model/thread.js";
import { addressOf } from "../route.js";
import { avatar } from "./avatar.js";
import { InvitationList } from "./invitations.js";
import { avatarIdOf, avatarNameOf, nameOf } from "./names.js";

export class ConversationList {
  readonly element: HTMLElement;
  readonly #chats: Chats;
  readonly #list: KeyedList<Thread>;
  readonly #empty: HTMLElement;
  readonly #invitations: InvitationList;
  #openId: string | undefined;

  constructor(chats: Chats, actions: ConversationActions) {
    this.#chats = chats;
    this.#invitations = new InvitationList(chats, actions);
    const items = h("ul", { class: "conversations" });
    this.#list = new KeyedList(items, ({ id }) => id, (thread) => this.#item(thread));
    this.#empty = h("p", { class: "conversations-empty" });
    this.element = h("nav", { class: "conversations-scroll", "aria-label": "Conversations" });
    this.element.append(this.#invitations.element, items, this.#empty);
  }

  render(openId: string | undefined): void {
    this.#openId = openId;
    const { threads, connection } = this.#chats;
    this.#invitations.render();
    this.#list.render(threads);
    this.#empty.hidden = threads.length > 0;
    setText(this.#empty, connection === "live" ? "No conversations yet. Start one with the button above." : "Loading…");
  }

  /** The element that had the focus before the conversation opened. */
  focus({ id }: Thread): void {
    this.element.querySelector<HTMLElement>(`a[href="${CSS.escape(addressOf(id))}"]`)?.focus();
  }

  #item(first: Thread): ItemView<Thread> {
    const picture = h("span", { class: "conversation-picture" });
    const name = h("span", { class: "conversation-name" });
    const preview = h("span", { class: "conversation-preview" });
    const time = h("span", { class: "conversation-time" });
    const unread = h("span", { class: "badge" });
    const text = h("span", { class: "conversation-text" }, name, preview);
    const request = h("span", { class: "tag" }, "Request");
    const side = h("span", { class: "conversation-side" }, time, request, unread);
    const link = h("a", { class: "conversation", href: addressOf(first.id) }, picture, text, side);
    const update = (thread: Thread) => {
      const title = nameOf(this.#chats, thread);
      if (name.textContent !== title) picture.replaceChildren(avatar(avatarIdOf(thread), avatarNameOf(this.#chats, thread)));
      setText(name, title);
      setText(preview, previewOf(this.#chats, thread));
      request.hidden = !thread.isRequest;
      setText(time, shortTime(thread.activeTime, new Date()));
      setText(unread, thread.unread > 0 ? String(thread.unread) : "");
      setAttribute(unread, "aria-label", thread.unread > 0 && `${thread.unread} unread`);
      setAttribute(unread, "role", thread.unread > 0 && "img");
      setAttribute(link, "aria-current", thread.id === this.#openId && "true");
    };
    return { element: h("li", {}, link), update };
  }
}

function previewOf(chats: Chats, thread: Thread): string {
  const waiting = chats.outbox.of(thread.id).at(-1);
  if (waiting) return `You: ${waiting.text}`;
  const entry = thread.newestMessage;
  if (entry?.body.case !== "message") return thread.history === "complete" ? "No messages yet" : "";
  const text = entry.body.value.deleteTime ? "Message deleted" : entry.body.value.text;
  if (entry.authorId === chats.userId) return `You: ${text}`;
  return !thread.isDirect ? `${isolate(chats.people.get(entry.authorId).name)}: ${text}` : text;
}
