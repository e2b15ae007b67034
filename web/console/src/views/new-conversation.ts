// The dialog that opens a conversation.

import type { Trellis } from "../../../client/src/index.js";
import { setText } from "../dom.js";
import type { Chats } from "../model/chats.js";
import { goTo } from "../route.js";
import { showDialog } from "./dialog.js";
import { Field } from "./field.js";
import { form } from "./form.js";
import { PeoplePicker } from "./people-picker.js";

export function newConversationDialog(trellis: Trellis, chats: Chats): void {
  showDialog("New conversation", (dialog) => {
    const title = new Field({ name: "title", label: "Name (optional)", hint: "A group without one shows its people's names." });
    const picker = new PeoplePicker(trellis.users, chats, () => {
      const { size } = picker.chosen;
      setText(button(), size > 1 ? `Start with ${size} people` : "Start conversation");
    });
    const requests = new RequestIds();
    const start = async () => {
      const members = [...picker.chosen.keys()].sort();
      const name = title.value.trim();
      const existing = members.length === 1 && name === "" ? chats.direct(members[0] ?? "") : undefined;
      const requestId = requests.idFor(JSON.stringify([members, name]));
      const thread = existing ?? (await chats.create(requestId, members, name));
      dialog.close();
      goTo(thread.id);
    };
    const element = form({ fields: [title], button: "Start conversation", submit: start });
    const button = () => element.querySelector("button[type=submit]") as HTMLButtonElement;
    element.prepend(picker.element);
    return [element];
  });
}

/** The same request keeps its id, so that a repeat after a lost answer opens no second conversation. */
class RequestIds {
  #content = "";
  #id = "";

  idFor(content: string): string {
    if (content !== this.#content || this.#id === "") {
      this.#content = content;
      this.#id = crypto.randomUUID();
    }
    return this.#id;
  }
}
