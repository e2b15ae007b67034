// The security tab: the second factor, changing the password, and deleting the account.

import { h } from "../../dom.js";
import { factorsSection } from "./factors.js";
import { passwordField } from "../sign-in.js";
import { form } from "../form.js";
import type { Account } from "./account-dialog.js";
import { proving } from "./proving.js";

export function securityPanel(account: Account): HTMLElement {
  return h("div", { class: "panel-parts" }, factorsSection(account), changePassword(account), deleteAccount(account));
}

function changePassword({ trellis }: Account): HTMLElement {
  const current = passwordField({ name: "current_password", label: "Current password", autocomplete: "current-password" });
  const next = passwordField({ name: "new_password", label: "New password", autocomplete: "new-password" });
  const change = async () => {
    const request = { currentPassword: current.value, newPassword: next.value };
    await proving(current, () => trellis.auth.changePassword(request));
    current.clear();
    next.clear();
    return "Your password is changed. Your other devices are signed out.";
  };
  const fields = [current, next];
  return h("section", {}, h("h3", {}, "Change your password"), form({ fields, button: "Change password", submit: change }));
}

function deleteAccount({ trellis, accountDeleted }: Account): HTMLElement {
  const password = passwordField({ name: "password", label: "Password", autocomplete: "current-password" });
  const text = "You are signed out on all devices and removed from all conversations. Your messages stay, without your name. This cannot be undone.";
  const end = async () => {
    await proving(password, () => trellis.auth.deleteAccount({ password: password.value }));
    accountDeleted();
  };
  const fields = [password];
  const danger = form({ fields, button: "Delete my account", submit: end, danger: true });
  return h("section", {}, h("h3", {}, "Delete your account"), h("p", { class: "dialog-text" }, text), danger);
}
