// The console: the sign-in page, or the chat page of the signed-in user.

import "./styles/base.css";
import "./styles/controls.css";
import "./styles/welcome.css";
import "./styles/shell.css";
import "./styles/conversation.css";
import "./styles/dialog.css";

import { createTrellis, type SessionState } from "../../client/src/index.js";
import { h } from "./dom.js";
import { closeLink, onNavigate, openedLink } from "./route.js";
import { ChatPage } from "./views/chat-page.js";
import { CLAIM_NOTICE, claimDialog, takeAdminCode } from "./views/claim-admin.js";
import { linkPage } from "./views/link-page.js";
import { askForProof } from "./views/proof.js";
import { brand, signInPage } from "./views/sign-in.js";

const trellis = createTrellis({ baseUrl: window.location.origin, askForProof });
const app = document.querySelector("#app") as HTMLElement;
let page: ChatPage | undefined;
/** The code of a link that was opened, until the user is signed in. */
let adminCode = takeAdminCode();
/** Whether the page of a link is shown. */
let showsLink = false;

function show(state: SessionState): void {
  // The page of a link stays until its user leaves it, whatever happens to the session.
  if (openedLink()) return;
  page?.close();
  page = state.kind === "signedIn" ? new ChatPage(trellis, state.userId) : undefined;
  if (page) app.replaceChildren(page.element);
  else if (state.kind === "signedOut") app.replaceChildren(signInPage(trellis, state.cause, adminCode && CLAIM_NOTICE));
  else app.replaceChildren(splash());
  claimRole();
}

/** Offers the role of the link that was opened. */
function claimRole(): void {
  if (adminCode === undefined || trellis.session.state.kind !== "signedIn") return;
  claimDialog(trellis.session, adminCode);
  adminCode = undefined;
}

/** A link can be opened while the page is shown. */
function onLink(): void {
  const code = takeAdminCode();
  if (code === undefined) return;
  adminCode = code;
  const { state } = trellis.session;
  if (state.kind === "signedOut") show(state);
  else claimRole();
}

/** Shows the page of the link in an e-mail that is open, or leaves it when none is open any more, as after Back. */
function showLink(): void {
  const link = openedLink();
  const leaves = showsLink && !link;
  showsLink = link !== undefined;
  if (leaves) show(trellis.session.state);
  if (!link) return;
  page?.close();
  page = undefined;
  const leave = () => {
    closeLink();
    showLink();
  };
  app.replaceChildren(linkPage(trellis, link, leave));
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
  window.addEventListener("hashchange", onLink);
  void trellis.session.restore();
  if (trellis.session.state.kind === "signedOut") show(trellis.session.state);
  showLink();
  onNavigate(showLink, new AbortController().signal);
} else {
  app.replaceChildren(insecure());
}
