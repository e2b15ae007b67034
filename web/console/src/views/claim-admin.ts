// The operator's one-time link, which makes the account that opens it an admin.

import type { Session } from "../../../client/src/index.js";
import { h } from "../dom.js";
import { showDialog } from "./dialog.js";
import { form } from "./form.js";

const PREFIX = "#/admin/";

export const CLAIM_NOTICE = "Sign in, or create an account, to become an admin.";

/** Returns the code in the page's address, and removes it, so that it stays in no history. */
export function takeAdminCode(): string | undefined {
  const { hash } = window.location;
  if (!hash.startsWith(PREFIX)) return undefined;
  history.replaceState(undefined, "", "#/");
  return decodeURIComponent(hash.slice(PREFIX.length)) || undefined;
}

export function claimDialog(session: Session, code: string): void {
  showDialog("Become an admin", ({ close }) => {
    const submit = async () => {
      await session.claimAdmin(code);
      close();
    };
    const words = "This link makes the account that you are signed in to an admin. Admins see, suspend and restore accounts, and grant roles.";
    return [h("p", { class: "dialog-text" }, words), form({ fields: [], button: "Become an admin", submit })];
  });
}
