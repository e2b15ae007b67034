import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, createClient, createRouterTransport } from "@connectrpc/connect";

import { isStepUpRequired } from "../src/errors.js";
import { AuthService } from "../src/gen/trellis/auth/v1/auth_pb.js";
import type { Session } from "../src/session.js";
import { type AskForProof, provingAgain } from "../src/transport.js";
import { refusal } from "./fakes.js";

/** A server that needs a recent proof, and the session that gives it. */
function server(ask: AskForProof) {
  let proved = false;
  let calls = 0;
  const reauthenticate = async (password: string) => {
    if (password !== "secret") throw refusal(Code.Unauthenticated, "BAD_CREDENTIALS");
    proved = true;
  };
  const once = createRouterTransport(({ service }) => {
    service(AuthService, {
      suspendAccount: () => {
        calls += 1;
        if (!proved) throw refusal(Code.Unauthenticated, "STEP_UP_REQUIRED");
        return {};
      },
    });
  });
  const transport = provingAgain(once, { reauthenticate } as unknown as Session, ask);
  return { auth: createClient(AuthService, transport), calls: () => calls };
}

test("calls that need a proof ask once and are repeated", async () => {
  let asked = 0;
  const { auth, calls } = server(async (prove) => {
    asked += 1;
    await assert.rejects(prove("wrong"));
    await prove("secret");
    return true;
  });
  await Promise.all([auth.suspendAccount({}), auth.suspendAccount({})]);
  await auth.suspendAccount({});
  assert.deepEqual([asked, calls()], [1, 5]);
});

test("a call fails when the user gives up, and the next one asks", async () => {
  let asked = 0;
  const { auth } = server(async () => {
    asked += 1;
    return false;
  });
  for (const _ of [1, 2]) await assert.rejects(auth.suspendAccount({}), (error) => isStepUpRequired(error));
  assert.equal(asked, 2);
});
