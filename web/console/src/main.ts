// The console: the sign-in page, or the chat of whoever is signed in.

import "./styles/base.css";
import "./styles/controls.css";
import "./styles/welcome.css";
import "./styles/shell.css";
import "./styles/conversation.css";
import "./styles/dialog.css";

import { createTrellis, type SessionState } from "../../client/src/index.js";
import { h } from "./dom.js";
import { ChatPage } from "./views/chat-page.js";
import { brand, signInPage } from "./views/sign-in.js";

const trellis = createTrellis({ baseUrl: window.location.origin });
const app = document.querySelector("#app") as HTMLElement;
let page: ChatPage | undefined;

function show(state: SessionState): void {
  page?.close();
  page = state.kind === "signedIn" ? new ChatPage(trellis, state.userId) : undefined;
  app.replaceChildren(page?.element ?? (state.kind === "restoring" ? splash() : signInPage(trellis.session, state.kind === "signedOut" && state.ended)));
}

/** While the server has not yet said whether the session still counts. */
function splash(): HTMLElement {
  return h("main", { class: "welcome" }, brand(), h("p", { class: "splash", role: "status" }, "Connecting…"));
}

/** Elsewhere a browser has neither locks nor the session's cookie. */
function insecure(): HTMLElement {
  const words = "This page needs HTTPS, or the address localhost.";
  return h("main", { class: "welcome" }, brand(), h("p", { class: "problem", role: "alert" }, words));
}

if (window.isSecureContext) {
  trellis.session.onChange(show);
  void trellis.session.restore();
  if (trellis.session.state.kind === "signedOut") show(trellis.session.state);
} else {
  app.replaceChildren(insecure());
}
