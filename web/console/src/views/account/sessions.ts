// The sessions tab: the devices on which the user is signed in.

import { timestampDate } from "@bufbuild/protobuf/wkt";

import type { auth } from "../../../../client/src/index.js";
import { h, setText } from "../../dom.js";
import { explain } from "../../explain.js";
import { clientName, exactTime, shortened, shortTime } from "../../format.js";
import { loaded } from "../loaded.js";
import type { Account } from "./account-dialog.js";

/** The contract cuts a `user-agent` at 256 characters, which may be within a word. */
const LONGEST_USER_AGENT = 255;
/** The maximum number of sessions that the page shows. */
const SHOWN = 100;

export function sessionsPanel({ trellis }: Account): HTMLElement {
  const read = async () => (await trellis.auth.listSessions({ pageSize: SHOWN })).sessions;
  return loaded("your sessions", read, (sessions) => sessionList({ trellis }, sessions));
}

function sessionList({ trellis }: Pick<Account, "trellis">, sessions: readonly auth.Session[]): HTMLElement {
  const problem = h("p", { class: "problem", role: "alert" });
  const success = h("p", { class: "success", role: "status" });
  const list = h("ul", { class: "sessions" });
  const end = async (call: () => Promise<unknown>, gone: readonly HTMLElement[], message: string) => {
    setText(problem, "");
    try {
      await call();
      for (const item of gone) item.remove();
      setText(success, message);
      everywhere.hidden = list.childElementCount < 2;
    } catch (error) {
      setText(problem, explain(error));
    }
  };
  const endOne = (session: auth.Session, item: HTMLElement) =>
    end(() => trellis.auth.revokeSession({ sessionId: session.sessionId }), [item], "The session is signed out.");
  const endOthers = () => {
    const others = [...list.children].filter((item) => !item.matches("[data-current]")) as HTMLElement[];
    return end(() => trellis.auth.revokeAllSessions({ keepCurrent: true }), others, "Your other devices are signed out.");
  };
  const look = { class: "button wide", type: "button", on: { click: () => void endOthers() } };
  const everywhere = h("button", look, "Sign out all other devices");
  everywhere.hidden = sessions.length < 2;
  list.append(...sessions.map((session) => sessionItem(session, endOne)));
  return h("div", { class: "form" }, list, problem, success, everywhere);
}

function sessionItem(session: auth.Session, end: (session: auth.Session, item: HTMLElement) => Promise<void>): HTMLElement {
  const { userAgent, address, current, lastUseTime } = session;
  const name = clientName(userAgent);
  const used = lastUseTime ? timestampDate(lastUseTime) : undefined;
  const when = used && h("time", { datetime: used.toISOString(), title: exactTime(used) }, `Used ${shortTime(used, new Date())}`);
  const detail = h("small", {}, when, when && address && " · ", address);
  const click = () => void end(session, item);
  const button = h("button", { class: "button small", type: "button", "aria-label": `Sign out ${name}`, on: { click } }, "Sign out");
  const names = h("span", { class: "person-names", title: shortened(userAgent, LONGEST_USER_AGENT) }, name, detail);
  const item = h("li", { class: "session", "data-current": current }, names, current ? h("span", { class: "tag" }, "This device") : button);
  return item;
}
