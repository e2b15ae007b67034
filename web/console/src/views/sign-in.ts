// The sign-in and sign-up page.

import { type auth, reasonOf, type Session, type SignedOutCause, type Trellis } from "../../../client/src/index.js";
import { h } from "../dom.js";
import { explainSignUp } from "../explain.js";
import { icon } from "../icons.js";
import { Field, type FieldOptions } from "./field.js";
import { form, WrongField } from "./form.js";

export const HANDLE_HINT = "Other people find you by your handle: lower-case letters, digits and underscores.";

const NOTICES: Readonly<Partial<Record<SignedOutCause, string>>> = {
  expired: "Your session has ended. Sign in again to continue.",
  deleted: "Your account is deleted. You can create a new account with the same e-mail address.",
};

/** `cause` is the reason for the end of the session, if there was one; `why` is what the sign-in is for. */
export function signInPage({ session, publicAuth }: Trellis, cause: SignedOutCause, why?: string): HTMLElement {
  const card = h("section", { class: "card" });
  const show = (content: HTMLElement[]) => {
    card.replaceChildren(...content);
    card.querySelector("input")?.focus();
  };
  const showSignIn = () => show(signIn(session, showCode, showSignUp, showReset));
  const showCode = (challenge: auth.SignInChallenge) => show(enterCode(session, challenge, showSignIn));
  const showReset = () => show(requestReset(publicAuth, showSignIn));
  const showSignUp = () => show(signUp(session, showSignIn));
  // The card must be attached before an element in it can get the focus.
  queueMicrotask(showSignIn);
  const notice = NOTICES[cause] ?? why;
  return h("main", { class: "welcome" }, brand(), notice && h("p", { class: "notice", role: "status" }, notice), card);
}

export function brand(): HTMLElement {
  return h("p", { class: "brand" }, h("span", { class: "brand-mark" }, icon("lattice")), "Trellis");
}

type ShowCode = (challenge: auth.SignInChallenge) => void;

function signIn(session: Session, showCode: ShowCode, other: () => void, forgot: () => void): HTMLElement[] {
  const email = new Field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", literal: true });
  const password = passwordField({ autocomplete: "current-password" });
  return [
    h("h1", {}, "Sign in"),
    form({
      fields: [email, password],
      button: "Sign in",
      submit: async () => {
        const challenge = await session.signIn(email.value.trim(), password.value);
        if (challenge) showCode(challenge);
      },
    }),
    alternative("New here?", "Create an account", other),
    alternative("Forgot your password?", "Set a new one", forgot),
  ];
}

/** The second step of a sign-in. */
function enterCode(session: Session, challenge: auth.SignInChallenge, back: () => void): HTMLElement[] {
  const code = codeField({ hint: "The six digits that your authenticator app shows, or one of your recovery codes." });
  const submit = () => checkingCode(code, () => session.completeSignIn(challenge, code.value));
  return [
    h("h1", {}, "Enter your code"),
    form({ fields: [code], button: "Sign in", submit }),
    alternative("Another account?", "Start again", back),
  ];
}

/** A field for a code of an authenticator app. */
export function codeField(options: Partial<FieldOptions> = {}): Field {
  return new Field({ name: "code", label: "Code", autocomplete: "one-time-code", literal: true, ...options });
}

/** Shows a wrong code beside its field. */
export async function checkingCode<T>(field: Field, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw reasonOf(error) === "CODE_INVALID" ? new WrongField(field, "This code is wrong, or was used before. Wait for the next one.") : error;
  }
}

/** The form that sends a link to set a new password. `back` leads to the sign-in. */
export function requestReset(auth: Trellis["publicAuth"], back: () => void): HTMLElement[] {
  const email = new Field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", literal: true });
  const submit = async () => {
    await auth.requestPasswordReset({ email: email.value.trim() });
    return "If an account has this address, an e-mail with a link is on its way. Check your inbox in a minute.";
  };
  return [
    h("h1", {}, "Set a new password"),
    form({ fields: [email], button: "Send a link", submit }),
    alternative("Remember it?", "Sign in", back),
  ];
}

function signUp(session: Session, other: () => void): HTMLElement[] {
  const email = new Field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", literal: true });
  const password = passwordField({ autocomplete: "new-password" });
  const displayName = new Field({ name: "display_name", label: "Your name", autocomplete: "name" });
  const handle = new Field({
    name: "handle",
    label: "Handle",
    literal: true,
    hint: HANDLE_HINT,
  });
  return [
    h("h1", {}, "Create an account"),
    form({
      fields: [displayName, handle, email, password],
      button: "Create account",
      submit: async () => {
        const account = {
          email: email.value.trim(),
          password: password.value,
          handle: handle.value.trim(),
          displayName: displayName.value.trim(),
        };
        await session.signUp(account).catch((error: unknown) => Promise.reject(explainSignUp(error)));
      },
    }),
    alternative("Have an account?", "Sign in", other),
  ];
}

type PasswordOptions = Partial<FieldOptions> & { readonly autocomplete: "current-password" | "new-password" };

/** A field for a new password shows its rules. */
export function passwordField(options: PasswordOptions): Field {
  const hint = options.autocomplete === "new-password" ? { hint: "At least 15 characters: several words are easy to remember." } : {};
  return new Field({ name: "password", label: "Password", type: "password", ...hint, ...options });
}

/** A question with a button that leads elsewhere. */
export function alternative(question: string, label: string, go: () => void): HTMLElement {
  const button = h("button", { class: "link", type: "button", on: { click: go } }, label);
  return h("p", { class: "alternative" }, question, " ", button);
}
