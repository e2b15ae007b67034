import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";

import { messaging } from "../../client/src/index.js";
import { Thread } from "../src/model/thread.js";

/** A small deterministic generator (mulberry32), so that a failure can be repeated by its seed. */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The server's state of the conversation. */
class Model {
  readonly entries: messaging.Entry[] = [];
  readonly messages: { author: string; erased: boolean }[] = [];
  readNo = 0;

  append(body: messaging.Entry["body"], authorId: string): messaging.Entry {
    const seq = this.entries.length + 1;
    const entry = create(messaging.EntrySchema, {
      conversationId: "c",
      seq: BigInt(seq),
      authorId,
      createTime: timestampFromMs(seq),
      body,
    });
    this.entries.push(entry);
    return entry;
  }

  say(author: string): messaging.Entry {
    this.messages.push({ author, erased: false });
    const messageNo = this.messages.length;
    if (author === "me") this.readNo = messageNo;
    const value = create(messaging.MessageSchema, { messageNo: BigInt(messageNo), text: "text", clientMessageId: `${messageNo}` });
    return this.append({ case: "message", value }, author);
  }

  erase(index: number): messaging.Entry | undefined {
    const message = this.messages[index];
    if (!message || message.erased) return undefined;
    message.erased = true;
    const value = create(messaging.MessageDeletedSchema, { messageNo: BigInt(index + 1) });
    return this.append({ case: "messageDeleted", value }, message.author);
  }

  get unread(): number {
    return this.messages.filter(({ author, erased }, i) => i >= this.readNo && author !== "me" && !erased).length;
  }

  conversation(): messaging.Conversation {
    return create(messaging.ConversationSchema, {
      conversationId: "c",
      messageCount: BigInt(this.messages.length),
      membership: { unreadCount: BigInt(this.unread), lastReadMessageNo: BigInt(this.readNo) },
      updateTime: timestampFromMs(this.entries.length),
    });
  }
}

test("the unread count matches a model", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const next = random(seed);
    const model = new Model();
    for (let i = 0; i < 5; i += 1) model.say(next() < 0.5 ? "me" : "bob");
    const thread = new Thread("me", model.conversation());
    for (let step = 0; step < 40; step += 1) {
      const dice = next();
      if (dice < 0.45) thread.take(model.say("bob"));
      else if (dice < 0.6) thread.take(model.say("me"));
      else if (dice < 0.75) {
        // For a deleted message that is not loaded, the page has only the server's count.
        const index = Math.floor(next() * model.messages.length);
        const entry = index >= 5 ? model.erase(index) : undefined;
        if (entry) thread.take(entry);
      } else if (dice < 0.85) {
        model.readNo = model.messages.length;
        thread.see(BigInt(model.readNo));
      } else {
        model.readNo = model.messages.length;
        thread.mark([create(messaging.ReadMarkSchema, { userId: "me", messageNo: BigInt(model.readNo) })]);
      }
      assert.equal(thread.unread, model.unread, `seed ${seed}, step ${step}`);
    }
  }
});

test("a message and an addition move the read mark of their user", () => {
  const model = new Model();
  const conversation = model.conversation();
  const members = ["me", "bob"].map((userId) => create(messaging.MemberSchema, { userId }));
  const thread = new Thread("me", create(messaging.ConversationSchema, { ...conversation, memberCount: 2, members }));
  thread.take(model.say("me"));
  assert.deepEqual(thread.readersOf(1n), []);
  thread.take(model.say("bob"));
  assert.deepEqual(thread.readersOf(1n), ["bob"]);
  const value = create(messaging.MemberAddedSchema, { userId: "cleo" });
  thread.take(model.append({ case: "memberAdded", value }, "cleo"));
  assert.deepEqual(thread.readersOf(2n), ["bob", "cleo"]);
  thread.take(model.say("me"));
  assert.deepEqual(thread.readersOf(3n), []);
  // A page may bring a message before the stream does.
  const reply = model.say("cleo");
  thread.addPage([reply]);
  thread.take(reply);
  assert.deepEqual(thread.readersOf(3n), ["cleo"]);
});

test("an addition does not mark messages after it", () => {
  const model = new Model();
  const thread = new Thread("me", create(messaging.ConversationSchema, { conversationId: "c", memberCount: 1, members: [{ userId: "me" }] }));
  thread.take(model.say("me"));
  const value = create(messaging.MemberAddedSchema, { userId: "cleo" });
  const added = model.append({ case: "memberAdded", value }, "me");
  const later = model.say("me");
  thread.take(later);
  thread.take(added);
  assert.deepEqual([thread.readersOf(1n), thread.readersOf(2n)], [["cleo"], []]);
});

test("a conversation is deserted after all other members have left", () => {
  const model = new Model();
  const conversation = create(messaging.ConversationSchema, { conversationId: "c", memberCount: 1, ownerId: "me" });
  const invited = new Thread("me", conversation);
  invited.take(model.say("me"));
  assert.ok(!invited.isDeserted);
  const left = new Thread("me", create(messaging.ConversationSchema, { conversationId: "c", memberCount: 2 }));
  const value = create(messaging.MemberRemovedSchema, { userId: "bob", ownerId: "me" });
  left.take(model.append({ case: "memberRemoved", value }, "bob"));
  assert.ok(left.isDeserted);
});

test("a message that was never on screen is not read", () => {
  const model = new Model();
  for (let i = 0; i < 10; i += 1) model.say("bob");
  const thread = new Thread("me", model.conversation());
  assert.equal(thread.unread, 10);
  assert.ok(thread.see(4n));
  assert.equal(thread.unread, 6);
  assert.ok(!thread.see(3n));
  assert.equal(thread.readNo, 4n);
});

test("a change in a page is applied when the stream brings it", () => {
  const model = new Model();
  const thread = new Thread("me", model.conversation());
  const value = create(messaging.ConversationUpdatedSchema, { title: "new", etag: "2", titleChanged: true });
  const entry = model.append({ case: "conversationUpdated", value }, "ada");
  thread.addPage([entry]);
  assert.equal(thread.take(entry), false);
  assert.deepEqual([thread.title, thread.etag], ["new", "2"]);
  value.title = "other";
  assert.equal(thread.take(entry), false);
  assert.equal(thread.title, "new", "it is applied once");
});
