import assert from "node:assert/strict";
import { test } from "node:test";

import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, createClient, createRouterTransport } from "@connectrpc/connect";

import type { Browser } from "../src/browser.js";
import { reasonOf } from "../src/errors.js";
import { AuthService } from "../src/gen/trellis/auth/v1/auth_pb.js";
import { Session } from "../src/session.js";
import { MemoryStore, refusal, until } from "./fakes.js";

/** The tabs of one browser, and the server with their cookie. */
class SharedBrowser {
  readonly store = new MemoryStore();
  readonly #listeners: ((message: unknown) => void)[] = [];
  #last: Promise<unknown> = Promise.resolve();
  cookie: string | undefined;
  refreshes = 0;
  failures: Error[] = [];
  /** Whether the account has a second factor. */
  hasFactor = false;

  tab(): Session {
    const own = this.#listeners.length;
    const browser: Browser = {
      store: this.store,
      exclusive: (_, task) => {
        const run = this.#last.then(task);
        this.#last = run.catch(() => {});
        return run;
      },
      channel: {
        post: (message) => this.#listeners.forEach((listener, i) => i !== own && listener(message)),
        listen: (callback) => this.#listeners.push(callback),
      },
    };
    return new Session(createClient(AuthService, this.#server()), browser);
  }

  #server() {
    const tokens = (name: string) => ({
      tokens: { accessToken: name, userId: "u", accessExpireTime: timestampFromMs(Date.now() + 900_000) },
    });
    return createRouterTransport(({ service }) => {
      service(AuthService, {
        signIn: () => {
          if (this.hasFactor) return { challenge: { token: "challenge" } };
          this.cookie = "here";
          return tokens("first");
        },
        completeSignIn: ({ challengeToken, code }) => {
          if (challengeToken !== "challenge" || code !== "123456") throw refusal(Code.Unauthenticated, "CODE_INVALID");
          this.cookie = "here";
          return tokens("completed");
        },
        refreshToken: () => {
          this.refreshes += 1;
          const failure = this.failures.shift();
          if (failure) throw failure;
          if (!this.cookie) throw refusal(Code.Unauthenticated, "REFRESH_TOKEN_INVALID");
          return tokens(`refreshed ${this.refreshes}`);
        },
        reauthenticate: ({ password }, { requestHeader }) => {
          if (password !== "secret") throw refusal(Code.Unauthenticated, "BAD_CREDENTIALS");
          const token = requestHeader.get("authorization")?.replace("Bearer ", "proved with ");
          return { accessToken: token ?? "", accessExpireTime: timestampFromMs(Date.now() + 900_000) };
        },
        claimAdmin: () => {
          const payload = btoa(JSON.stringify({ scope: "accounts.read roles.write" }));
          return { accessToken: `header.${payload}.signature`, accessExpireTime: timestampFromMs(Date.now() + 900_000) };
        },
        signOut: () => {
          this.cookie = undefined;
          return {};
        },
      });
    });
  }
}

/** Signs out. This stops the timer that would keep the process alive. */
async function leave(session: Session): Promise<void> {
  await session.signOut();
  assert.equal(session.state.kind, "signedOut");
}

test("a browser without a session makes no call", async () => {
  const shared = new SharedBrowser();
  const tab = shared.tab();
  await tab.restore();
  assert.equal(tab.state.kind, "signedOut");
  assert.equal(shared.refreshes, 0);
});

test("an earlier session resumes after the server was unavailable", async () => {
  const shared = new SharedBrowser();
  await shared.tab().signIn("a@example.com", "secret");
  shared.failures = [refusal(Code.Unavailable, "UNAVAILABLE")];
  const reloaded = shared.tab();
  await reloaded.restore();
  assert.deepEqual(reloaded.state, { kind: "signedIn", userId: "u" });
  await leave(reloaded);
});

test("concurrent callers share one refresh", async () => {
  const shared = new SharedBrowser();
  const tab = shared.tab();
  await tab.signIn("a@example.com", "secret");
  const tokens = await Promise.all(["first", "first", "first"].map((refused) => tab.replace(refused)));
  assert.deepEqual(tokens, ["refreshed 1", "refreshed 1", "refreshed 1"]);
  assert.equal(await tab.replace("first"), "refreshed 1");
  await leave(tab);
});

test("a refused refresh signs out", async () => {
  const shared = new SharedBrowser();
  const tab = shared.tab();
  await tab.signIn("a@example.com", "secret");
  shared.cookie = undefined;
  await assert.rejects(tab.replace("first"));
  assert.equal(tab.state.kind, "signedOut");
  const reloaded = shared.tab();
  await reloaded.restore();
  assert.equal(shared.refreshes, 1);
});

test("only an explicit reason ends a session", async () => {
  const shared = new SharedBrowser();
  const tab = shared.tab();
  await tab.signIn("a@example.com", "secret");
  const unexpected = [
    refusal(Code.Internal, "INTERNAL"),
    refusal(Code.Unauthenticated, "TOKEN_INVALID"),
    refusal(Code.PermissionDenied, "CROSS_ORIGIN"),
    refusal(Code.ResourceExhausted, "RATE_LIMITED"),
    refusal(Code.Unimplemented, "UNKNOWN_METHOD"),
  ];
  for (const error of unexpected) {
    shared.failures = [error];
    await assert.rejects(tab.replace("first"));
    assert.equal(tab.state.kind, "signedIn", error.message);
  }
  assert.equal(await tab.replace("first"), `refreshed ${unexpected.length + 1}`);
  shared.failures = [refusal(Code.Unauthenticated, "REFRESH_TOKEN_REUSED")];
  await assert.rejects(tab.replace(await tab.accessToken()));
  assert.deepEqual(tab.state, { kind: "signedOut", cause: "expired" });
});

test("a restored session survives unexpected errors", async () => {
  const shared = new SharedBrowser();
  await shared.tab().signIn("a@example.com", "secret");
  shared.failures = [refusal(Code.Internal, "INTERNAL"), refusal(Code.Internal, "INTERNAL")];
  const reloaded = shared.tab();
  await reloaded.restore();
  assert.deepEqual(reloaded.state, { kind: "signedIn", userId: "u" });
  await leave(reloaded);
});

test("a deleted account signs out every tab with its cause", async () => {
  const shared = new SharedBrowser();
  const [here, there] = [shared.tab(), shared.tab()];
  await here.signIn("a@example.com", "secret");
  await until(() => there.state.kind === "signedIn");
  here.accountDeleted();
  assert.deepEqual(here.state, { kind: "signedOut", cause: "deleted" });
  assert.deepEqual(there.state, { kind: "signedOut", cause: "deleted" });
});

test("signing in and out reaches every tab", async () => {
  const shared = new SharedBrowser();
  const [here, there] = [shared.tab(), shared.tab()];
  await here.signIn("a@example.com", "secret");
  await until(() => there.state.kind === "signedIn");
  await leave(here);
  assert.equal(there.state.kind, "signedOut");
});

test("a new proof replaces the access token of the same session", async () => {
  const here = new SharedBrowser();
  const session = here.tab();
  await session.signIn("ada@example.com", "secret");
  const refused = await session.reauthenticate("wrong").catch((error: unknown) => reasonOf(error));
  assert.deepEqual([refused, await session.accessToken()], ["BAD_CREDENTIALS", "first"]);
  await session.reauthenticate("secret");
  assert.equal(await session.accessToken(), "proved with first");
  assert.deepEqual([session.state.kind, here.refreshes], ["signedIn", 0]);
  await leave(session);
});

test("permissions are those of the current access token", async () => {
  const here = new SharedBrowser();
  const session = here.tab();
  assert.equal(session.permissions.size, 0);
  await session.signIn("ada@example.com", "secret");
  assert.equal(session.permissions.size, 0);
  await session.claimAdmin("code");
  assert.deepEqual([...session.permissions], ["accounts.read", "roles.write"]);
  await leave(session);
});

test("an account with a second factor is signed in after its code", async () => {
  const shared = new SharedBrowser();
  shared.hasFactor = true;
  const [here, there] = [shared.tab(), shared.tab()];
  const challenge = await here.signIn("a@example.com", "secret");
  assert.ok(challenge);
  assert.deepEqual([here.state.kind, there.state.kind, shared.cookie], ["signedOut", "signedOut", undefined]);
  await assert.rejects(here.completeSignIn(challenge, "000000"));
  assert.equal(here.state.kind, "signedOut");
  await here.completeSignIn(challenge, "123456");
  assert.deepEqual([here.state.kind, await here.accessToken()], ["signedIn", "completed"]);
  await until(() => there.state.kind === "signedIn");
  await leave(here);
  await until(() => there.state.kind === "signedOut");
});
