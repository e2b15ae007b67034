// Keeps the open conversation in the page's address, so that a reload shows it again and Back leaves it.

const PREFIX = "#/conversations/";

export function openConversationId(): string | undefined {
  const { hash } = window.location;
  return hash.startsWith(PREFIX) ? decodeURIComponent(hash.slice(PREFIX.length)) : undefined;
}

export function addressOf(conversationId: string): string {
  return PREFIX + encodeURIComponent(conversationId);
}

export function goTo(conversationId: string): void {
  window.location.hash = addressOf(conversationId);
}

/** Returns to the list of conversations. */
export function leaveConversation(): void {
  window.location.hash = "#/";
}

export function onNavigate(callback: () => void, signal: AbortSignal): void {
  window.addEventListener("hashchange", callback, { signal });
}

/** The pages that links in e-mails open. */
const LINK_PAGES = ["reset-password", "verify-email", "confirm-email", "undo-email-change", "sign-in", "mailbox"] as const;

export interface OpenedLink {
  readonly page: (typeof LINK_PAGES)[number];
  /** The rest of the address: the token of a link, or the key of the mailbox. It follows the #, so that no server logs it. */
  readonly token: string;
}

/** The link with which the page was opened. */
export function openedLink(): OpenedLink | undefined {
  const [, name, token = ""] = window.location.hash.split("/");
  const page = LINK_PAGES.find((known) => known === name);
  return page && { page, token };
}

/** Removes a link from the address and the history, so that nothing of it stays there. */
export function closeLink(): void {
  window.history.replaceState(undefined, "", "#/");
}
