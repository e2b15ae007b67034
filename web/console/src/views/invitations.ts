// The invitations above the conversations, and the notice above the messages of a request.

import { h, setText } from "../dom.js";
import { explain } from "../explain.js";
import { isolate } from "../format.js";
import { type ItemView, KeyedList } from "../keyed-list.js";
import type { messaging } from "../../../client/src/index.js";
import type { Chats } from "../model/chats.js";
import type { ConversationActions } from "../model/actions.js";
import type { Thread } from "../model/thread.js";
import { goTo, leaveConversation } from "../route.js";
import { askToBlock } from "./blocking.js";

/** The user's pending invitations. */
export class InvitationList {
  readonly element = h("ul", { class: "invitations", "aria-label": "Invitations" });
  readonly #chats: Chats;
  readonly #actions: ConversationActions;
  readonly #list: KeyedList<messaging.Invitation>;

  constructor(chats: Chats, actions: ConversationActions) {
    this.#chats = chats;
    this.#actions = actions;
    this.#list = new KeyedList(this.element, ({ conversationId }) => conversationId, (first) => this.#item(first));
  }

  render(): void {
    this.element.hidden = this.#chats.invitations.length === 0;
    this.#list.render(this.#chats.invitations);
  }

  #item({ conversationId, inviterId: inviter }: messaging.Invitation): ItemView<messaging.Invitation> {
    const text = h("p", {});
    const choice = new Choice({
      accept: () => this.#actions.accept(conversationId).then(() => goTo(conversationId)),
      decline: () => this.#actions.decline(conversationId),
      block: (act) => askToBlock(this.#chats, inviter, act),
      blockNow: () => this.#actions.block(inviter),
    });
    const update = ({ inviterId, title, memberCount }: messaging.Invitation) => {
      const { name } = this.#chats.people.get(inviterId);
      const what = title ? `\u201c${title}\u201d` : `a conversation of ${memberCount} ${memberCount === 1 ? "person" : "people"}`;
      setText(text, `${isolate(name)} invites you to ${what}.`);
    };
    return { element: h("li", { class: "invitation" }, text, choice.element), update };
  }
}

/** The notice above the messages of a request. */
export class RequestBanner {
  readonly element: HTMLElement;
  readonly #text = h("p", {});
  readonly #chats: Chats;
  readonly #thread: Thread;

  constructor(chats: Chats, actions: ConversationActions, thread: Thread) {
    this.#chats = chats;
    this.#thread = thread;
    const choice = new Choice({
      accept: () => actions.accept(thread.id),
      decline: () => actions.decline(thread.id).then(leaveConversation),
      block: (act) => askToBlock(chats, thread.others[0] ?? "", act),
      blockNow: () => actions.block(thread.others[0] ?? "").then(leaveConversation),
    });
    this.element = h("div", { class: "request", role: "group", "aria-label": "Request" }, this.#text, choice.element);
  }

  render(): void {
    this.element.hidden = !this.#thread.isRequest;
    const [first] = this.#thread.others;
    const name = first ? this.#chats.people.get(first).name : "A user";
    setText(this.#text, `${isolate(name)} is not one of your contacts. Accept to continue this conversation; a reply accepts it too. If you decline, you leave the conversation.`);
  }
}

interface Acts {
  readonly accept: () => Promise<void>;
  readonly decline: () => Promise<void>;
  /** Asks for confirmation before the action. */
  readonly block: (act: () => void) => void;
  readonly blockNow: () => Promise<void>;
}

/** The buttons and the error. */
class Choice {
  readonly element: HTMLElement;
  readonly #problem = h("p", { class: "problem", role: "alert" });

  constructor({ accept, decline, block, blockNow }: Acts) {
    const buttons = h(
      "div",
      { class: "choice" },
      this.#button("Accept", "primary", () => void this.#try(accept)),
      this.#button("Decline", "", () => void this.#try(decline)),
      this.#button("Block…", "quiet", () => block(() => void this.#try(blockNow))),
    );
    this.element = h("div", {}, buttons, this.#problem);
  }

  #button(label: string, look: string, click: () => void): HTMLElement {
    return h("button", { class: `button small ${look}`, type: "button", on: { click } }, label);
  }

  async #try(act: () => Promise<void>): Promise<void> {
    setText(this.#problem, "");
    try {
      await act();
    } catch (error) {
      setText(this.#problem, explain(error));
    }
  }
}
