// The console: the sign-in page, or the chat page of the signed-in user.

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
  if (page) app.replaceChildren(page.element);
  else if (state.kind === "signedOut") app.replaceChildren(signInPage(trellis.session, state.cause));
  else app.replaceChildren(splash());
}

/** Shown until the server has reported whether the session is valid. */
function splash(): HTMLElement {
  return h("main", { class: "welcome" }, brand(), h("p", { class: "splash", role: "status" }, "Connecting…"));
}

/** Without a secure context, a browser has neither Web Locks nor the session's cookie. */
function insecure(): HTMLElement {
  const words = "Trellis works only over HTTPS. Open this page with an address that begins with https://, or as localhost.";
  return h("main", { class: "welcome" }, brand(), h("p", { class: "problem", role: "alert" }, words));
}

if (window.isSecureContext) {
  trellis.session.onChange(show);
  void trellis.session.restore();
  if (trellis.session.state.kind === "signedOut") show(trellis.session.state);
} else {
  app.replaceChildren(insecure());
}
