import assert from "node:assert/strict";
import { test } from "node:test";

import type { Trellis } from "../../client/src/index.js";
import { Blocks } from "../src/model/blocks.js";

test("a block during a read of the blocks is kept", async () => {
  const stored = new Set(["mallory"]);
  let respond = () => {};
  let reads = 0;
  const client = {
    blockUser: async ({ userId }: { userId: string }) => void stored.add(userId),
    listBlockedUsers: async () => {
      const userIds = [...stored];
      reads += 1;
      if (reads === 1) await new Promise<void>((resolve) => (respond = resolve));
      return { userIds, nextPageToken: "" };
    },
  };
  const blocks = new Blocks(client as unknown as Trellis["messaging"], () => {});
  const reading = blocks.read();
  await blocks.block("eve");
  respond();
  await reading;
  assert.deepEqual([...blocks.ids].sort(), ["eve", "mallory"]);
});
