// The account dialog: profile, privacy, sessions, e-mail address, password, deletion, and for admins the accounts.

import type { Trellis } from "../../../../client/src/index.js";
import type { Chats } from "../../model/chats.js";
import { showDialog } from "../dialog.js";
import { tabs } from "../tabs.js";
import { administrationPanel, mayAdminister } from "./administration.js";
import { emailPanel } from "./email.js";
import { privacyPanel } from "./privacy.js";
import { profilePanel } from "./profile.js";
import { securityPanel } from "./security.js";
import { sessionsPanel } from "./sessions.js";

export interface Account {
  readonly trellis: Trellis;
  readonly chats: Chats;
  /** Removes the user's data from this browser after the server has deleted the account. */
  readonly accountDeleted: () => void;
}

export function accountDialog(account: Account): void {
  showDialog("Your account", () => [
    tabs("Your account", [
      { label: "Profile", content: () => profilePanel(account) },
      { label: "Privacy", content: () => privacyPanel(account) },
      { label: "Sessions", content: () => sessionsPanel(account) },
      { label: "E-mail", content: () => emailPanel(account) },
      { label: "Security", content: () => securityPanel(account) },
      ...(mayAdminister(account) ? [{ label: "Accounts", content: () => administrationPanel(account) }] : []),
    ]),
  ]);
}
