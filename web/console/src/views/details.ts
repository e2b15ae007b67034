// The details dialog: the name, the members, and leaving the conversation.

import { messaging, type Trellis } from "../../../client/src/index.js";
import { h, setAttribute, setText } from "../dom.js";
import { Advice, explain } from "../explain.js";
import { isolate } from "../format.js";
import { type ItemView, KeyedList } from "../keyed-list.js";
import type { Chats } from "../model/chats.js";
import type { ConversationActions } from "../model/actions.js";
import type { Thread } from "../model/thread.js";
import { goTo, leaveConversation } from "../route.js";
import { avatar } from "./avatar.js";
import { askToBlock } from "./blocking.js";
import { Choices } from "./choices.js";
import { confirmDialog, type Dialog, showDialog } from "./dialog.js";
import { Field } from "./field.js";
import { form } from "./form.js";
import { showInvited } from "./invited.js";
import { countOf, nameOf } from "./names.js";
import { openWith, RequestIds } from "./new-conversation.js";
import { PeoplePicker } from "./people-picker.js";

export interface DetailsParts {
  readonly trellis: Trellis;
  readonly chats: Chats;
  readonly actions: ConversationActions;
}

const POLICIES = [
  { value: messaging.AddPolicy.ALL_MEMBERS, label: "All members", hint: "Each member can add people." },
  { value: messaging.AddPolicy.OWNER_ONLY, label: "Only you", hint: "Other members cannot add people." },
] as const;

export function detailsDialog(parts: DetailsParts, thread: Thread): void {
  showDialog("Conversation", (dialog) => new Details(parts, thread, dialog).content());
}

class Details {
  readonly #parts: DetailsParts;
  readonly #thread: Thread;
  readonly #dialog: Dialog;
  readonly #requests = new RequestIds();
  readonly #heading = h("h3", {});
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #success = h("p", { class: "success", role: "status" });
  readonly #addPeople: HTMLButtonElement;
  readonly #ownerAdds = h("p", { class: "field-hint" }, "Only the owner of this conversation can add people.");
  readonly #policy: Choices<messaging.AddPolicy>;
  readonly #members: KeyedList<string>;
  readonly #list = h("ul", { class: "people members" });
  readonly #more: HTMLButtonElement;

  constructor(parts: DetailsParts, thread: Thread, dialog: Dialog) {
    this.#parts = parts;
    this.#thread = thread;
    this.#dialog = dialog;
    this.#members = new KeyedList(this.#list, (id) => id, (id) => this.#member(id));
    const more = { class: "link", type: "button", on: { click: () => void this.#readMembers() } };
    this.#more = h("button", more, "Show more members");
    const add = { class: "button", type: "button", on: { click: () => this.#add() } };
    this.#addPeople = h("button", add, "Add people");
    this.#policy = new Choices<messaging.AddPolicy>({
      legend: "People who may add members",
      options: POLICIES,
      chosen: thread.addPolicy,
      save: (policy) => parts.actions.chooseAddPolicy(thread, policy),
    });
    void this.#readMembers();
    void this.#try(() => parts.chats.blocks.read());
    dialog.onClose(parts.chats.onChange(() => this.#render()));
    this.#render();
  }

  content(): HTMLElement[] {
    const leave = { class: "button danger", type: "button", on: { click: () => this.#askToLeave() } };
    const actions = h("div", { class: "dialog-actions" }, this.#addPeople, h("button", leave, "Leave…"));
    return [this.#renaming(), this.#heading, this.#list, this.#more, this.#policy.element, this.#ownerAdds, this.#problem, this.#success, actions];
  }

  #renaming(): HTMLElement {
    const title = new Field({ name: "title", label: "Name", value: this.#thread.title, hint: "Without a name it shows the names of its members." });
    const save = async () => {
      await this.#parts.actions.rename(this.#thread, title.value.trim());
      return "Saved.";
    };
    return form({ fields: [title], button: "Save the name", submit: save });
  }

  #render(): void {
    const { chats } = this.#parts;
    // The user was removed, or left in another tab: close the dialog.
    if (chats.thread(this.#thread.id) !== this.#thread) return this.#dialog.close();
    const { memberIds, knowsAllMembers } = this.#thread;
    setText(this.#heading, countOf(this.#thread));
    this.#members.render(memberIds);
    this.#more.hidden = knowsAllMembers;
    this.#policy.element.hidden = !this.#thread.isOwn;
    this.#policy.show(this.#thread.addPolicy);
    this.#addPeople.hidden = !this.#thread.mayAdd;
    this.#ownerAdds.hidden = this.#thread.mayAdd;
  }

  async #readMembers(): Promise<void> {
    await this.#try(() => this.#parts.chats.readMembers(this.#thread));
  }

  #member(id: string): ItemView<string> {
    const { chats } = this.#parts;
    const isMe = id === chats.userId;
    const picture = h("span", {});
    const name = h("span", {});
    const handle = h("small", {});
    const role = h("span", { class: "tag" }, "Owner");
    const talk = h("button", { class: "link", type: "button", on: { click: () => void this.#talkTo(id) } }, "Message");
    const remove = h("button", { class: "link danger", type: "button", on: { click: () => this.#askToRemove(id) } }, "Remove");
    const block = h("button", { class: "link", type: "button", on: { click: () => this.#toggleBlock(id) } });
    const names = h("span", { class: "person-names" }, name, handle);
    const element = h("li", { class: "person" }, picture, names, role, !isMe && talk, !isMe && block, remove);
    const update = () => {
      const person = chats.people.get(id);
      if (name.textContent !== person.name) picture.replaceChildren(avatar(id, person.name));
      setText(name, isMe ? `${isolate(person.name)} (you)` : person.name);
      setText(handle, person.handle && `@${person.handle}`);
      setAttribute(talk, "aria-label", `Message ${isolate(person.name)}`);
      setAttribute(remove, "aria-label", `Remove ${isolate(person.name)}`);
      const action = chats.blocks.has(id) ? "Unblock" : "Block";
      setText(block, action);
      setAttribute(block, "aria-label", `${action} ${isolate(person.name)}`);
      role.hidden = id !== this.#thread.ownerId;
      remove.hidden = isMe || !this.#thread.isOwn;
      talk.hidden = this.#thread.isDirect;
    };
    return { element, update };
  }

  #toggleBlock(id: string): void {
    const { chats, actions } = this.#parts;
    const name = isolate(chats.people.get(id).name);
    const run = async (act: () => Promise<void>, message: string) => {
      if (await this.#try(act)) setText(this.#success, message);
    };
    if (chats.blocks.has(id)) void run(() => chats.blocks.unblock(id), `${name} is unblocked.`);
    else askToBlock(chats, id, () => void run(() => actions.block(id), `${name} is blocked.`));
  }

  async #talkTo(id: string): Promise<void> {
    await this.#try(async () => {
      const { thread, invitedIds } = await openWith(this.#parts.chats, this.#requests, [id], "");
      this.#dialog.close();
      goTo(thread.id);
      showInvited(this.#parts.chats, invitedIds);
    });
  }

  #add(): void {
    const { trellis, chats } = this.#parts;
    showDialog("Add people", (dialog) => {
      const picker = new PeoplePicker(trellis.users, chats, this.#thread.memberIds, () => {});
      const add = async () => {
        const invitedIds: string[] = [];
        for (const id of picker.required()) if (await this.#addOne(id)) invitedIds.push(id);
        dialog.close();
        showInvited(chats, invitedIds);
      };
      const element = form({ fields: [], button: "Add", submit: add });
      element.prepend(picker.element, h("p", { class: "field-hint" }, "They will see all messages of this conversation."));
      return [element];
    });
  }

  /** Returns whether the person was only invited. The error names the person: the earlier ones were added. */
  async #addOne(id: string): Promise<boolean> {
    const { chats, actions } = this.#parts;
    try {
      return await actions.add(this.#thread, id);
    } catch (error) {
      throw new Advice(`${isolate(chats.people.get(id).name)} was not added. ${explain(error)}`);
    }
  }

  #askToRemove(id: string): void {
    const { name } = this.#parts.chats.people.get(id);
    const remove = () => void this.#try(() => this.#parts.actions.remove(this.#thread, id));
    confirmDialog(`Remove ${isolate(name)}?`, "They will no longer see this conversation. Their messages stay.", "Remove", remove);
  }

  #askToLeave(): void {
    const text = "You will no longer see this conversation. A member can add you again.";
    const leave = () =>
      void this.#try(async () => {
        await this.#parts.actions.leave(this.#thread);
        this.#dialog.close();
        leaveConversation();
      });
    confirmDialog(`Leave ${isolate(nameOf(this.#parts.chats, this.#thread))}?`, text, "Leave", leave);
  }

  /** Returns whether it worked. Otherwise the dialog shows the error. */
  async #try(act: () => Promise<void>): Promise<boolean> {
    setText(this.#problem, "");
    setText(this.#success, "");
    try {
      await act();
      return true;
    } catch (error) {
      setText(this.#problem, explain(error));
      return false;
    }
  }
}
