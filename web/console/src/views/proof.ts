// Asks for the password again, because an action needs a recent proof of who the user is.

import { reasonOf } from "../../../client/src/index.js";
import { h } from "../dom.js";
import { showDialog } from "./dialog.js";
import { form, WrongField } from "./form.js";
import { checkingCode, codeField, passwordField } from "./sign-in.js";

const WORDS = "This action needs a recent proof that it is you. Enter your password to continue.";

/** Resolves to false when the user closes the dialog. */
export function askForProof(prove: (password: string, code: string) => Promise<void>): Promise<boolean> {
  return new Promise((resolve) => {
    let proved = false;
    const dialog = showDialog("Confirm that it is you", ({ close }) => {
      const password = passwordField({ autocomplete: "current-password" });
      // Shown if the account has a second factor.
      const code = codeField({ hint: "Of your authenticator app, or a recovery code." });
      code.element.hidden = true;
      const submit = async () => {
        await checkingCode(code, () => prove(password.value, code.value)).catch((error: unknown) => {
          const reason = reasonOf(error);
          if (reason === "BAD_CREDENTIALS") throw new WrongField(password, "This password is wrong. Enter the password of this account.");
          if (reason !== "CODE_REQUIRED") throw error;
          code.element.hidden = false;
          throw new WrongField(code, "Enter a code too.");
        });
        proved = true;
        close();
      };
      return [h("p", { class: "dialog-text" }, WORDS), form({ fields: [password, code], button: "Continue", submit })];
    });
    dialog.onClose(() => resolve(proved));
  });
}
