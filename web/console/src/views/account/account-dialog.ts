// What somebody sets about themselves: the profile, where they are signed in, the password, the end.

import type { Trellis } from "../../../../client/src/index.js";
import type { Chats } from "../../model/chats.js";
import { showDialog } from "../dialog.js";
import { tabs } from "../tabs.js";
import { profilePanel } from "./profile.js";
import { securityPanel } from "./security.js";
import { sessionsPanel } from "./sessions.js";

export interface Account {
  readonly trellis: Trellis;
  readonly chats: Chats;
  /** Takes everything of the user's from this browser, and signs out. */
  readonly signOut: () => Promise<void>;
}

export function accountDialog(account: Account): void {
  showDialog("Your account", () => [
    tabs("Your account", [
      { label: "Profile", content: () => profilePanel(account) },
      { label: "Sessions", content: () => sessionsPanel(account) },
      { label: "Security", content: () => securityPanel(account) },
    ]),
  ]);
}
