// Names of conversations.

import { isolate } from "../format.js";
import type { Chats } from "../model/chats.js";
import type { Thread } from "../model/thread.js";

/** The title, otherwise the names of the other members. */
export function nameOf(chats: Chats, thread: Thread): string {
  if (thread.title) return thread.title;
  if (thread.others.length === 0) return "Only you";
  const names = thread.others.map((id) => isolate(chats.people.get(id).name));
  // The user is not among the names.
  const more = Math.max(names.length, thread.memberCount - 1) - 4;
  return names.slice(0, 4).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** The name whose initials the avatar shows: the title, otherwise the first and the second member. */
export function avatarNameOf(chats: Chats, thread: Thread): string {
  if (thread.title) return thread.title;
  const [first, second] = thread.others.map((id) => chats.people.get(id).name);
  if (first === undefined) return "Only you";
  return second === undefined ? first : `${first.split(/\s/)[0]} ${second.split(/\s/)[0]}`;
}

/** The id that gives the avatar its color: in a direct conversation the other member's. */
export function avatarIdOf(thread: Thread): string {
  const { others } = thread;
  return thread.title === "" && others.length === 1 ? (others[0] ?? thread.id) : thread.id;
}

/** `1 member`, `3 members`. */
export function countOf({ memberCount }: Thread): string {
  return memberCount === 1 ? "1 member" : `${memberCount} members`;
}

/** The subtitle below the name. */
export function detailOf(chats: Chats, thread: Thread): string {
  const { others } = thread;
  const [first] = others;
  if (others.length === 1 && first) {
    const { name, handle } = chats.people.get(first);
    const address = handle ? `@${handle}` : "";
    return thread.title ? [name, address].filter(Boolean).join(" · ") : address;
  }
  if (thread.isDeserted) return "Everyone else has left this conversation.";
  return countOf(thread);
}
