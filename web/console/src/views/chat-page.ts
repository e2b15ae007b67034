// The page of a signed-in user: the conversations on the left, the open one on the right. A phone shows one of
// the two.

import type { messaging, Trellis } from "../../../client/src/index.js";
import { batched, h, setText } from "../dom.js";
import { explain, NO_CONVERSATION } from "../explain.js";
import { isolate } from "../format.js";
import { icon } from "../icons.js";
import { Chats } from "../model/chats.js";
import { ConversationActions } from "../model/actions.js";
import { Drafts } from "../model/drafts.js";
import type { Thread } from "../model/thread.js";
import { leaveConversation, onNavigate, openConversationId } from "../route.js";
import { accountDialog } from "./account/account-dialog.js";
import { avatar } from "./avatar.js";
import { ConnectionIndicator } from "./connection.js";
import { ConversationView } from "./conversation.js";
import { ConversationList } from "./conversation-list.js";
import { confirmDialog } from "./dialog.js";
import { newConversationDialog } from "./new-conversation.js";
import { brand } from "./sign-in.js";

export class ChatPage {
  readonly element: HTMLElement;
  readonly #trellis: Trellis;
  readonly #chats: Chats;
  readonly #end = new AbortController();
  readonly #drafts: Drafts;
  readonly #list: ConversationList;
  readonly #connection = new ConnectionIndicator();
  readonly #actions: ConversationActions;
  readonly #me: HTMLElement;
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #main = h("main", { class: "chat" });
  /** Announces new messages to screen readers. */
  readonly #announcer = h("div", { class: "visually-hidden", "aria-live": "polite" });
  #open: ConversationView | undefined;

  constructor(trellis: Trellis, userId: string) {
    this.#trellis = trellis;
    this.#drafts = new Drafts(trellis.store, userId);
    this.#chats = new Chats(trellis, userId, (thread, entry) => this.#announce(thread, entry));
    this.#actions = new ConversationActions(trellis.messaging, this.#chats);
    this.#list = new ConversationList(this.#chats, this.#actions);
    const account = { trellis, chats: this.#chats, accountDeleted: () => this.#accountDeleted() };
    this.#me = h("button", { class: "me", type: "button", on: { click: () => accountDialog(account) } });
    this.element = h("div", { class: "shell" }, this.#sidebar(), this.#main, this.#announcer);
    this.#chats.onChange(batched(() => this.#render()));
    onNavigate(() => this.#navigate(), this.#end.signal);
    const options = { signal: this.#end.signal };
    document.addEventListener("visibilitychange", () => this.#open?.noteSeen(), options);
    this.#navigate();
  }

  close(): void {
    this.#end.abort();
    this.#chats.close();
    document.title = "Trellis";
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  }

  #sidebar(): HTMLElement {
    const start = () => newConversationDialog(this.#trellis, this.#chats);
    const compose = { class: "button primary", type: "button", on: { click: start } };
    const leave = { class: "button quiet", type: "button", on: { click: () => this.#askToSignOut() } };
    return h(
      "div",
      { class: "sidebar" },
      h("header", { class: "bar" }, h("h1", { class: "visually-hidden" }, "Trellis"), brand(), this.#connection.element),
      h("div", { class: "sidebar-actions" }, h("button", compose, icon("plus"), "New conversation")),
      this.#list.element,
      this.#problem,
      h("footer", { class: "sidebar-foot" }, this.#me, h("button", leave, icon("leave"), "Sign out")),
    );
  }

  #navigate(): void {
    const left = this.#open?.thread;
    this.#chats.open(openConversationId());
    this.#render();
    if (this.#open) this.#open.focus();
    else if (left) this.#list.focus(left);
  }

  #render(): void {
    if (this.#end.signal.aborted) return;
    const openId = openConversationId();
    this.element.dataset["view"] = openId === undefined ? "list" : "chat";
    this.#connection.render(this.#chats.connection);
    this.#list.render(openId);
    this.#renderMe();
    this.#renderOpen(openId);
    const { unread } = this.#chats;
    document.title = unread > 0 ? `(${unread}) Trellis` : "Trellis";
  }

  #renderMe(): void {
    const { id, name, handle } = this.#chats.people.get(this.#chats.userId);
    if (this.#me.dataset["name"] === name) return;
    this.#me.dataset["name"] = name;
    const names = h("span", { class: "person-names" }, name, h("small", {}, handle && `@${handle}`));
    const what = h("span", { class: "visually-hidden" }, "Your account:");
    this.#me.replaceChildren(what, avatar(id, name), names);
  }

  #renderOpen(openId: string | undefined): void {
    const thread = openId === undefined ? undefined : this.#chats.thread(openId);
    if (!thread) {
      this.#open = undefined;
      this.#main.replaceChildren(this.#placeholder(openId));
    } else if (this.#open?.thread !== thread) {
      this.#open = new ConversationView({ trellis: this.#trellis, chats: this.#chats, actions: this.#actions }, thread, this.#drafts);
      this.#main.replaceChildren(this.#open.element);
    }
    this.#open?.render();
  }

  #placeholder(openId: string | undefined): HTMLElement {
    const live = this.#chats.connection === "live";
    if (openId === undefined) {
      return h("p", { class: "placeholder" }, icon("lattice"), "Choose a conversation, or start a new one.");
    }
    if (!live) return h("p", { class: "placeholder" }, icon("lattice"), "Loading…");
    const back = h("button", { class: "link", type: "button", on: { click: leaveConversation } }, "All conversations");
    return h("div", { class: "placeholder" }, icon("lattice"), h("p", {}, NO_CONVERSATION), back);
  }

  #announce(thread: Thread, entry: messaging.Entry): void {
    if (entry.body.case !== "message") return;
    const { name } = this.#chats.people.get(entry.authorId);
    const where = this.#open?.thread === thread ? "" : " in another conversation";
    this.#announcer.replaceChildren(h("p", {}, `${isolate(name)}${where}: ${entry.body.value.text}`));
  }

  #askToSignOut(): void {
    const signOut = () => void this.#trySignOut();
    if (this.#chats.outbox.isEmpty) signOut();
    else confirmDialog("Sign out?", "Messages that are not sent yet are deleted.", "Sign out", signOut);
  }

  async #trySignOut(): Promise<void> {
    setText(this.#problem, "");
    try {
      await this.#signOut();
    } catch (error) {
      setText(this.#problem, `Signing out failed, so you are still signed in. ${explain(error)}`);
    }
  }

  async #signOut(): Promise<void> {
    await this.#trellis.session.signOut();
    this.#removeLocalData();
  }

  #accountDeleted(): void {
    this.#removeLocalData();
    this.#trellis.session.accountDeleted();
  }

  /** Removes the user's data from this browser. */
  #removeLocalData(): void {
    this.#chats.outbox.clear();
    this.#drafts.clear();
    leaveConversation();
  }
}
