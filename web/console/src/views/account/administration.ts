// The accounts tab, for admins: finds accounts, suspends and restores them, ends their sessions, and changes their roles.

import { auth } from "../../../../client/src/index.js";
import { type Child, h, setText } from "../../dom.js";
import { explain } from "../../explain.js";
import { confirmDialog } from "../dialog.js";
import { Field } from "../field.js";
import { loaded } from "../loaded.js";
import { type MenuItem, openMenu } from "../menu.js";
import type { Account } from "./account-dialog.js";

/** The permissions, as in the contract. */
const READ = "accounts.read";
const END_SESSIONS = "sessions.end";
const SUSPEND = "accounts.suspend";
const ROLES = "roles.write";

/** The roles of the contract. */
const GRANTABLE = ["support", "auditor", "admin"];

const STATES: Readonly<Partial<Record<auth.AccountState, string>>> = {
  [auth.AccountState.PENDING]: "Sign-up not finished",
  [auth.AccountState.SUSPENDED]: "Suspended",
  [auth.AccountState.DELETED]: "Deleted",
};

export function mayAdminister({ trellis }: Pick<Account, "trellis">): boolean {
  return trellis.session.permissions.has(READ);
}

export function administrationPanel({ trellis }: Account): HTMLElement {
  const email = new Field({ name: "email", label: "E-mail", type: "email", literal: true, hint: "Leave it empty to see the newest accounts." });
  const results = h("div", {});
  const search = () => {
    const filter = { email: email.value.trim() };
    const read = async () => (await trellis.auth.listAccounts(filter)).accounts;
    results.replaceChildren(loaded("accounts", read, (accounts) => accountList(trellis, accounts)));
  };
  const onSubmit = (event: Event) => {
    event.preventDefault();
    search();
  };
  const find = h("button", { class: "button wide", type: "submit" }, "Find accounts");
  search();
  return h("div", { class: "form" }, h("form", { class: "form", novalidate: true, on: { submit: onSubmit } }, email.element, find), results);
}

function accountList(trellis: Account["trellis"], accounts: readonly auth.Account[]): HTMLElement {
  const problem = h("p", { class: "problem", role: "alert" });
  const success = h("p", { class: "success", role: "status" });
  const list = h("ul", { class: "sessions" });
  const empty = h("p", { class: "dialog-text" }, "No account matches.");
  empty.hidden = accounts.length > 0;
  const run: Run = async (call, message) => {
    setText(problem, "");
    setText(success, "");
    try {
      await call();
      setText(success, message);
    } catch (error) {
      setText(problem, explain(error));
    }
  };
  list.append(...accounts.map((account) => accountItem(trellis, account, run)));
  return h("div", { class: "form" }, list, empty, problem, success);
}

type Run = (call: () => Promise<unknown>, message: string) => Promise<void>;

function accountItem(trellis: Account["trellis"], first: auth.Account, run: Run): HTMLElement {
  let account = first;
  const names = h("span", { class: "person-names" });
  const nameOf = () => account.email || "A deleted account";
  const click = () => openMenu(button, actions(trellis, account, change));
  const button = h("button", { class: "button small", type: "button", "aria-haspopup": "menu", on: { click } }, "Manage");
  const show = () => {
    const details = [STATES[account.state], ...account.roles].filter((part) => part !== undefined);
    const parts: Child[] = [nameOf(), details.length > 0 && h("small", {}, details.join(" · "))];
    names.replaceChildren(...parts.filter((part): part is Node | string => Boolean(part)));
    button.setAttribute("aria-label", `Manage ${nameOf()}`);
    button.hidden = actions(trellis, account, change).length === 0;
  };
  const change: Change = (call, message) =>
    void run(async () => {
      const changed = await call();
      if (changed.account) account = changed.account;
      show();
    }, `${nameOf()} ${message}`);
  show();
  return h("li", { class: "session" }, names, button);
}

type Change = (call: () => Promise<{ account?: auth.Account | undefined }>, message: string) => void;

/** What the user may do with an account in its state. */
function actions({ auth: calls, session }: Account["trellis"], { userId, email, state, roles }: auth.Account, change: Change): MenuItem[] {
  const { permissions } = session;
  const [isActive, isSuspended] = [state === auth.AccountState.ACTIVE, state === auth.AccountState.SUSPENDED];
  const endSessions = async () => {
    await calls.endAccountSessions({ userId });
    return {};
  };
  const items: (MenuItem | false)[] = [
    isActive &&
      permissions.has(END_SESSIONS) && {
        label: "Sign out on all devices",
        act: () => change(endSessions, "is signed out on all devices."),
      },
    isSuspended &&
      permissions.has(SUSPEND) && { label: "Restore", act: () => change(() => calls.restoreAccount({ userId }), "is restored and can sign in.") },
    isActive &&
      permissions.has(SUSPEND) && {
        label: "Suspend",
        danger: true,
        act: () => {
          const words = `${email} is signed out on all devices, and cannot sign in until an admin restores the account.`;
          confirmDialog("Suspend this account?", words, "Suspend", () => change(() => calls.suspendAccount({ userId }), "is suspended."));
        },
      },
    ...GRANTABLE.filter(() => isActive && permissions.has(ROLES)).map((role) =>
      roles.includes(role)
        ? { label: `Remove the role ${role}`, act: () => change(() => calls.revokeRole({ userId, role }), `no longer has the role ${role}.`) }
        : { label: `Give the role ${role}`, act: () => change(() => calls.grantRole({ userId, role }), `has the role ${role}.`) },
    ),
  ];
  return items.filter((item) => item !== false);
}
