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
