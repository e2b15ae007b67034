// The sign-in and sign-up page.

import type { Session, SignedOutCause, Trellis } from "../../../client/src/index.js";
import { h } from "../dom.js";
import { explainSignUp } from "../explain.js";
import { icon } from "../icons.js";
import { Field, type FieldOptions } from "./field.js";
import { form } from "./form.js";

export const HANDLE_HINT = "Other people find you by your handle: lower-case letters, digits and underscores.";

const NOTICES: Readonly<Partial<Record<SignedOutCause, string>>> = {
  expired: "Your session has ended. Sign in again to continue.",
  deleted: "Your account is deleted. You can create a new account with the same e-mail address.",
};

/** `cause` is the reason for the end of the session, if there was one. */
export function signInPage(trellis: Trellis, cause: SignedOutCause): HTMLElement {
  const { session, publicAuth } = trellis;
  const card = h("section", { class: "card" });
  const show = (content: HTMLElement[]) => {
    card.replaceChildren(...content);
    card.querySelector("input")?.focus();
  };
  const showSignIn = () => show(signIn(session, showSignUp, mailed));
  const showReset = () => show(requestReset(publicAuth, showSignIn));
  const showLink = () => show(requestLink(trellis, showSignIn));
  const mailed = h("div", { class: "alternatives" });
  void offerMail(publicAuth, mailed, showReset, showLink);
  const showSignUp = () => show(signUp(session, showSignIn));
  // The card must be attached before an element in it can get the focus.
  queueMicrotask(showSignIn);
  const notice = NOTICES[cause];
  return h("main", { class: "welcome" }, brand(), notice && h("p", { class: "notice", role: "status" }, notice), card);
}

export function brand(): HTMLElement {
  return h("p", { class: "brand" }, h("span", { class: "brand-mark" }, icon("lattice")), "Trellis");
}

/** Shows what the server can send by e-mail. */
async function offerMail(auth: Auth, place: HTMLElement, reset: () => void, link: () => void): Promise<void> {
  // Without an e-mail there is nothing to offer, and a failure shows elsewhere.
  const options = await auth.getSignInOptions({}).catch(() => undefined);
  if (options?.mail) place.append(alternative("Forgot your password?", "Set a new one", reset));
  if (options?.signInLink) place.append(alternative("No password at hand?", "Get a sign-in link", link));
}

function signIn(session: Session, other: () => void, mailed: HTMLElement): HTMLElement[] {
  const email = new Field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", literal: true });
  const password = passwordField({ autocomplete: "current-password" });
  return [
    h("h1", {}, "Sign in"),
    form({
      fields: [email, password],
      button: "Sign in",
      submit: () => session.signIn(email.value.trim(), password.value),
    }),
    alternative("New here?", "Create an account", other),
    mailed,
  ];
}

type Auth = Trellis["publicAuth"];

/** The key of the secret that binds a sign-in link to this browser. */
export const LINK_SECRET = "trellis.sign-in-secret";

function requestLink({ publicAuth, store }: Trellis, back: () => void): HTMLElement[] {
  const email = new Field({ name: "email", label: "E-mail", type: "email", autocomplete: "username", literal: true });
  const submit = async () => {
    const { browserSecret } = await publicAuth.requestSignInLink({ email: email.value.trim() });
    store.set(LINK_SECRET, browserSecret);
    return "If an account has this address, an e-mail with a link is on its way. Open the link in this browser.";
  };
  return [
    h("h1", {}, "Get a sign-in link"),
    form({ fields: [email], button: "Send a link", submit }),
    alternative("Know your password?", "Sign in", back),
  ];
}

function requestReset(auth: Auth, back: () => void): HTMLElement[] {
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
  const hint = options.autocomplete === "new-password" ? { hint: "At least 8 characters." } : {};
  return new Field({ name: "password", label: "Password", type: "password", ...hint, ...options });
}

function alternative(question: string, label: string, go: () => void): HTMLElement {
  const button = h("button", { class: "link", type: "button", on: { click: go } }, label);
  return h("p", { class: "alternative" }, question, " ", button);
}
