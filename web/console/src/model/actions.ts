// The actions of a member on a conversation, other than sending messages. Applies each result at once, because the
// feed, which also delivers it, may be disconnected.

import type { messaging, Trellis } from "../../../client/src/index.js";
import type { Chats } from "./chats.js";
import type { Thread } from "./thread.js";

/** A message in the log. */
export interface StoredMessage {
  readonly messageId: string;
  readonly text: string;
  readonly etag: string;
}

export class ConversationActions {
  readonly #messaging: Trellis["messaging"];
  readonly #chats: Chats;

  constructor(messagingClient: Trellis["messaging"], chats: Chats) {
    this.#messaging = messagingClient;
    this.#chats = chats;
  }

  async rename({ id: conversationId, etag }: Thread, title: string): Promise<void> {
    this.#learn((await this.#messaging.updateConversation({ conversationId, title, etag })).conversation);
  }

  /** Chooses which members may add others. */
  async chooseAddPolicy({ id: conversationId, etag }: Thread, addPolicy: messaging.AddPolicy): Promise<void> {
    const request = { conversationId, addPolicy, etag, updateMask: { paths: ["add_policy"] } };
    this.#learn((await this.#messaging.updateConversation(request)).conversation);
  }

  /** Adds a user. Returns whether they got an invitation instead. */
  async add({ id: conversationId }: Thread, userId: string): Promise<boolean> {
    const { conversation, invited } = await this.#messaging.addMember({ conversationId, userId });
    this.#learn(conversation);
    return invited;
  }

  async remove({ id: conversationId }: Thread, userId: string): Promise<void> {
    this.#learn((await this.#messaging.removeMember({ conversationId, userId })).conversation);
  }

  async leave({ id: conversationId }: Thread): Promise<void> {
    await this.#messaging.leaveConversation({ conversationId });
    this.#chats.leave(conversationId);
  }

  /** Accepts an invitation or a request. */
  async accept(conversationId: string): Promise<void> {
    this.#learn((await this.#messaging.acceptInvitation({ conversationId })).conversation);
    await this.#chats.readInvitations();
  }

  async decline(conversationId: string): Promise<void> {
    await this.#messaging.declineInvitation({ conversationId });
    // The user was a member if it was a request.
    this.#chats.leave(conversationId);
    await this.#chats.readInvitations();
  }

  /** Blocks a user, which also declines their requests and invitations. */
  async block(userId: string): Promise<void> {
    await this.#chats.blocks.block(userId);
    await this.#chats.readInvitations();
  }

  async edit(thread: Thread, { messageId, etag }: StoredMessage, text: string): Promise<void> {
    const request = { conversationId: thread.id, messageId, text, etag };
    this.#replace(thread, (await this.#messaging.editMessage(request)).entry);
  }

  async deleteMessage(thread: Thread, { messageId }: StoredMessage): Promise<void> {
    this.#replace(thread, (await this.#messaging.deleteMessage({ conversationId: thread.id, messageId })).entry);
  }

  #learn(conversation: messaging.Conversation | undefined): void {
    if (conversation) this.#chats.learn(conversation);
    this.#chats.changed();
  }

  #replace(thread: Thread, entry: messaging.Entry | undefined): void {
    if (entry) thread.timeline.replace(entry);
    this.#chats.changed();
  }
}
