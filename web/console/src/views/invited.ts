// Shows which people are invited and not yet members.

import { h } from "../dom.js";
import { isolate } from "../format.js";
import type { Chats } from "../model/chats.js";
import { showDialog } from "./dialog.js";

export function showInvited(chats: Chats, userIds: readonly string[]): void {
  if (userIds.length === 0) return;
  const people = userIds.map((id) => chats.people.get(id));
  const items = people.map(({ name, handle }) => h("li", {}, isolate(name), handle && h("small", {}, ` @${handle}`)));
  const text =
    people.length === 1
      ? "This person has not been added yet, because you have no conversation together. They see this conversation once they accept the invitation."
      : "These people have not been added yet, because you have no conversation together. They see this conversation once they accept the invitation.";
  showDialog(people.length === 1 ? "Invitation sent" : "Invitations sent", (dialog) => {
    const done = h("button", { class: "button primary", type: "button", autofocus: true, on: { click: dialog.close } }, "OK");
    return [h("p", { class: "dialog-text" }, text), h("ul", { class: "invited" }, ...items), h("div", { class: "dialog-actions" }, done)];
  });
}
