// Asks for the password again, because an action needs a recent proof of who the user is.

import { reasonOf } from "../../../client/src/index.js";
import { h } from "../dom.js";
import { showDialog } from "./dialog.js";
import { form, WrongField } from "./form.js";
import { passwordField } from "./sign-in.js";

const WORDS = "This action needs a recent proof that it is you. Enter your password to continue.";

/** Resolves to false when the user closes the dialog. */
export function askForProof(prove: (password: string) => Promise<void>): Promise<boolean> {
  return new Promise((resolve) => {
    let proved = false;
    const dialog = showDialog("Confirm that it is you", ({ close }) => {
      const password = passwordField({ autocomplete: "current-password" });
      const submit = async () => {
        await prove(password.value).catch((error: unknown) => {
          const wrong = reasonOf(error) === "BAD_CREDENTIALS";
          throw wrong ? new WrongField(password, "This password is wrong. Enter the password of this account.") : error;
        });
        proved = true;
        close();
      };
      return [h("p", { class: "dialog-text" }, WORDS), form({ fields: [password], button: "Continue", submit })];
    });
    dialog.onClose(() => resolve(proved));
  });
}
