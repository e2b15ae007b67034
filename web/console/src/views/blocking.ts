// Asks for confirmation before a block.

import { isolate } from "../format.js";
import type { Chats } from "../model/chats.js";
import { confirmDialog } from "./dialog.js";

export function askToBlock(chats: Chats, userId: string, block: () => void): void {
  const { name } = chats.people.get(userId);
  const text =
    "They can no longer start a conversation with you, invite you or add you. They get no notice. " +
    "You stay in your common conversations: leave those that you no longer want. You can unblock people in your account, under Privacy.";
  confirmDialog(`Block ${isolate(name)}?`, text, "Block", block);
}
