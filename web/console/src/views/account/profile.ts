// The profile tab: the user's name and handle.

import { type users } from "../../../../client/src/index.js";
import { HANDLE_HINT } from "../sign-in.js";
import { Field } from "../field.js";
import { form } from "../form.js";
import { loaded } from "../loaded.js";
import type { Account } from "./account-dialog.js";

export function profilePanel({ trellis, chats }: Account): HTMLElement {
  const read = async () => (await trellis.users.getUser({ userId: chats.userId })).user;
  return loaded("your profile", read, (user) => profileForm({ trellis, chats }, user));
}

function profileForm({ trellis, chats }: Pick<Account, "trellis" | "chats">, user: users.User | undefined): HTMLElement {
  const { userId, displayName: name = "", handle: known = "" } = user ?? { userId: chats.userId };
  let etag = user?.etag ?? "";
  const displayName = new Field({ name: "user.display_name", label: "Your name", value: name, autocomplete: "name" });
  const handle = new Field({ name: "user.handle", label: "Handle", value: known, literal: true, hint: HANDLE_HINT });
  const save = async () => {
    const wanted = { userId, displayName: displayName.value.trim(), handle: handle.value.trim(), etag };
    const response = await trellis.users.updateUser({ user: wanted, updateMask: { paths: ["display_name", "handle"] } });
    if (response.user) {
      etag = response.user.etag;
      chats.people.learn([response.user]);
      chats.changed();
    }
    return "Saved.";
  };
  return form({ fields: [displayName, handle], button: "Save", submit: save });
}
