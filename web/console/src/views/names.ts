// What conversations are called.

import type { Chats } from "../model/chats.js";
import type { Thread } from "../model/thread.js";

/** Its title, or else who is in it besides the user. */
export function nameOf(chats: Chats, thread: Thread): string {
  if (thread.title) return thread.title;
  if (thread.others.length === 0) return "Only you";
  const names = thread.others.map((id) => chats.people.get(id).name);
  return names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");
}

/** Whose colour the avatar has: the other one's in a conversation of two. */
export function avatarIdOf(thread: Thread): string {
  const { others } = thread;
  return thread.title === "" && others.length === 1 ? (others[0] ?? thread.id) : thread.id;
}

/** The line below the name. */
export function detailOf(chats: Chats, thread: Thread): string {
  const { others } = thread;
  const [first] = others;
  if (others.length === 1 && first) {
    const { name, handle } = chats.people.get(first);
    const address = handle ? `@${handle}` : "";
    return thread.title ? [name, address].filter(Boolean).join(" · ") : address;
  }
  return `${thread.memberIds.length} members`;
}
