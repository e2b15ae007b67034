// The e-mail address of the account: whether it is verified, and how to change it.

import type { auth } from "../../../../client/src/index.js";
import { h } from "../../dom.js";
import { Field } from "../field.js";
import { form } from "../form.js";
import { loaded } from "../loaded.js";
import { passwordField } from "../sign-in.js";
import type { Account } from "./account-dialog.js";
import { proving } from "./proving.js";

export function emailPanel({ trellis }: Account): HTMLElement {
  const address = loaded("your address", () => trellis.auth.getEmail({}), (email) => shown({ trellis }, email));
  return h("div", { class: "panel-parts" }, h("section", {}, h("h3", {}, "Your address"), address), changeEmail({ trellis }));
}

type Calls = Pick<Account, "trellis">;

function shown({ trellis }: Calls, { email, verifyTime }: auth.GetEmailResponse): HTMLElement {
  if (email === "") {
    const text = "Your account has no e-mail address, because the owner of the address has claimed it. Enter your own address below, or you cannot sign in again.";
    return h("p", { class: "dialog-text" }, text);
  }
  const state = verifyTime ? `${email} is verified.` : `${email} is not verified. Without that you get no notices about your account.`;
  const text = h("p", { class: "dialog-text" }, state);
  if (verifyTime) return text;
  const submit = async () => {
    await trellis.auth.requestEmailVerification({});
    return "An e-mail with a link is on its way.";
  };
  return h("div", { class: "panel-parts" }, text, form({ fields: [], button: "Send a link to verify it", submit }));
}

function changeEmail({ trellis }: Calls): HTMLElement {
  const email = new Field({ name: "new_email", label: "New e-mail", type: "email", autocomplete: "email", literal: true });
  const password = passwordField({ name: "password", label: "Password", autocomplete: "current-password" });
  const submit = async () => {
    const request = { newEmail: email.value.trim(), password: password.value };
    await proving(password, () => trellis.auth.changeEmail(request));
    email.clear();
    password.clear();
    return "Open the link in the e-mail to the new address. Until then nothing changes.";
  };
  return h("section", {}, h("h3", {}, "Change your address"), form({ fields: [email, password], button: "Change address", submit }));
}
