// The dialog that creates a conversation.

import type { Trellis } from "../../../client/src/index.js";
import { setText } from "../dom.js";
import type { Chats } from "../model/chats.js";
import type { Thread } from "../model/thread.js";
import { goTo } from "../route.js";
import { showDialog } from "./dialog.js";
import { Field } from "./field.js";
import { form } from "./form.js";
import { showInvited } from "./invited.js";
import { PeoplePicker } from "./people-picker.js";

export function newConversationDialog(trellis: Trellis, chats: Chats): void {
  showDialog("New conversation", (dialog) => {
    const title = new Field({ name: "title", label: "Name (optional)", hint: "Without a name, a group shows the names of its members." });
    const picker = new PeoplePicker(trellis.users, chats, [], () => {
      const { size } = picker.chosen;
      setText(button(), size > 1 ? `Start with ${size} people` : "Start conversation");
    });
    const requests = new RequestIds();
    const start = async () => {
      const people = picker.required();
      const { thread, invitedIds } = await openWith(chats, requests, people, title.value.trim());
      dialog.close();
      goTo(thread.id);
      showInvited(chats, invitedIds);
    };
    const element = form({ fields: [title], button: "Start conversation", submit: start });
    const button = () => element.querySelector("button[type=submit]") as HTMLButtonElement;
    element.prepend(picker.element);
    return [element];
  });
}

interface Opened {
  readonly thread: Thread;
  /** The users who got an invitation instead of a membership. */
  readonly invitedIds: string[];
}

/** Returns the existing direct conversation with one person, otherwise creates a conversation. */
export async function openWith(chats: Chats, requests: RequestIds, people: string[], title: string): Promise<Opened> {
  const [first, ...more] = people.sort();
  const existing = first !== undefined && more.length === 0 && title === "" ? chats.direct(first) : undefined;
  return existing ? { thread: existing, invitedIds: [] } : chats.create(requests.idFor(JSON.stringify([people, title])), people, title);
}

/** The same request keeps its id, so that a repeat after a lost response creates no second conversation. */
export class RequestIds {
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
