// Manages the session. The access token stays in the memory of the tab, the refresh token in an httpOnly cookie that
// no script can read. Tabs share the cookie, so a lock protects all code that uses or changes it.

import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError } from "@connectrpc/connect";

import { Backoff, sleep, waitAfter } from "./backoff.js";
import type { Browser } from "./browser.js";
import { isSessionEnd, isTokenRefused, signedOutError } from "./errors.js";
import { type AuthService, RefreshDelivery, type SignInChallenge, type Tokens } from "./gen/trellis/auth/v1/auth_pb.js";
import { newTrace } from "./trace.js";

/** Why no user is signed in. `expired`: the server ended the session, not the user. */
export type SignedOutCause = "never" | "signedOut" | "deleted" | "expired";

/** The state of a session. While `restoring`, the server has not yet reported whether the cookie is valid. */
export type SessionState =
  | { readonly kind: "restoring" }
  | { readonly kind: "signedOut"; readonly cause: SignedOutCause }
  | { readonly kind: "signedIn"; readonly userId: string };

export interface NewAccount {
  readonly email: string;
  readonly password: string;
  readonly handle: string;
  readonly displayName: string;
}

/** Messages between tabs. They contain no secrets. */
type TabMessage = "signedIn" | "signedOut" | "deleted";

interface AccessToken {
  readonly value: string;
  /** The time from which the token is replaced before use. */
  readonly refreshAtMs: number;
}

const LOCK = "trellis.session";
/** Marks that a user signed in on this browser. Without it the SDK makes no refresh call, which the server would refuse. */
const HINT = "trellis.signed-in";
/** A token is replaced this long before it expires. */
const MARGIN_MS = 60_000;
/** The minimum time for which a new token is used, even when the clock of the machine is wrong, unless the server refuses it. */
const LEAST_USE_MS = 15_000;

export class Session {
  readonly #auth: Client<typeof AuthService>;
  readonly #browser: Browser;
  readonly #listeners = new Set<(state: SessionState) => void>();
  #state: SessionState = { kind: "signedOut", cause: "never" };
  #token: AccessToken | undefined;
  /** Empty where it lives in the cookie. */
  #refreshToken = "";
  #refreshing: Promise<string> | undefined;
  /** The trace of the attempts to get the next token. */
  #refreshTrace = newTrace();
  /** Cancels the scheduled refresh of the previous token. */
  #keeper = new AbortController();

  constructor(auth: Client<typeof AuthService>, browser: Browser) {
    this.#auth = auth;
    this.#browser = browser;
    browser.channel.listen((message) => this.#onTabMessage(message as TabMessage));
  }

  get state(): SessionState {
    return this.#state;
  }

  /** Calls `listener` after each change. Returns a function that removes the listener. */
  onChange(listener: (state: SessionState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resumes the session of an earlier visit, if there is one. Retries until the server responds. */
  async restore(): Promise<void> {
    if (this.#browser.store.get(HINT) === null) return;
    this.#become({ kind: "restoring" });
    await this.#refreshUntilDecided(new AbortController().signal);
  }

  async signUp(account: NewAccount): Promise<void> {
    await this.#open(async () => {
      const request = { ...account, refreshDelivery: this.#refreshDelivery };
      return (await this.#auth.signUp(request)).tokens;
    });
  }

  /** Signs in. An account with a second factor is not signed in yet: pass the returned challenge to `completeSignIn`. */
  async signIn(email: string, password: string): Promise<SignInChallenge | undefined> {
    const request = { email, password, refreshDelivery: this.#refreshDelivery };
    const challenge = await this.#browser.exclusive(LOCK, async () => {
      const response = await this.#auth.signIn(request);
      if (!response.challenge) this.#accept(response.tokens);
      return response.challenge;
    });
    if (!challenge) this.#notifyTabs("signedIn");
    return challenge;
  }

  /** Completes a sign-in with a code of the authenticator app, or with a recovery code. */
  async completeSignIn({ token }: Pick<SignInChallenge, "token">, code: string): Promise<void> {
    await this.#open(async () => {
      const request = { challengeToken: token, code, refreshDelivery: this.#refreshDelivery };
      return (await this.#auth.completeSignIn(request)).tokens;
    });
  }

  /** Ends the session on the server and in every tab. Rejects when the server cannot be reached. */
  async signOut(): Promise<void> {
    await this.#browser.exclusive(LOCK, async () => {
      await this.#auth.signOut({ refreshToken: this.#refreshToken });
      this.#forget("signedOut");
    });
    this.#notifyTabs("signedOut");
  }

  /**
   * Proves again who the user is: calls that need a recent proof then succeed. Rejects when the password is wrong. An account
   * with a second factor needs a code too: without one the reason is `CODE_REQUIRED`.
   */
  async reauthenticate(password: string, code = ""): Promise<void> {
    await this.#renew((headers) => this.#auth.reauthenticate({ password, code }, { headers }));
  }

  /** Makes the account an admin, with the code of the operator's link. */
  async claimAdmin(code: string): Promise<void> {
    await this.#renew((headers) => this.#auth.claimAdmin({ code }, { headers }));
  }

  /** The permissions of the account, such as `accounts.read`, as its current access token states them. */
  get permissions(): ReadonlySet<string> {
    const payload = this.#token?.value.split(".")[1];
    if (payload === undefined) return new Set();
    const { scope = "" } = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))) as { scope?: string };
    return new Set(scope.split(" ").filter((name) => name !== ""));
  }

  /** Signs out this and the other tabs after the user deleted the account, which ended all its sessions on the server. */
  accountDeleted(): void {
    this.#forget("deleted");
    this.#notifyTabs("deleted");
  }

  /** Returns a valid access token. */
  async accessToken(): Promise<string> {
    const token = this.#token;
    return token && Date.now() < token.refreshAtMs ? token.value : this.#refresh();
  }

  /** Returns a token other than `refused`, which the server rejected. */
  async replace(refused: string): Promise<string> {
    const token = this.#token;
    return token && token.value !== refused ? token.value : this.#refresh();
  }

  get #refreshDelivery(): RefreshDelivery {
    return this.#browser.keepsCookies === false ? RefreshDelivery.UNSPECIFIED : RefreshDelivery.COOKIE;
  }

  async #open(call: () => Promise<Tokens | undefined>): Promise<void> {
    await this.#browser.exclusive(LOCK, async () => this.#accept(await call()));
    this.#notifyTabs("signedIn");
  }

  /** Replaces the access token of the same session by that of a response. */
  async #renew(call: (headers: HeadersInit) => Promise<{ accessToken: string; accessExpireTime?: Timestamp | undefined }>): Promise<void> {
    const attempt = (token: string) => call({ authorization: `Bearer ${token}` });
    const token = await this.accessToken();
    const renewed = await attempt(token).catch(async (error: unknown) => {
      if (!isTokenRefused(error)) throw error;
      return attempt(await this.replace(token));
    });
    // The user may have signed out meanwhile.
    if (this.#state.kind === "signedIn") this.#use(renewed.accessToken, renewed.accessExpireTime);
  }

  /** Makes one attempt, which concurrent callers share. */
  #refresh(): Promise<string> {
    this.#refreshing ??= this.#browser
      .exclusive(LOCK, () => this.#exchange())
      .finally(() => {
        this.#refreshing = undefined;
      });
    return this.#refreshing;
  }

  async #exchange(): Promise<string> {
    if (this.#browser.store.get(HINT) === null) {
      if (this.#state.kind !== "signedOut") this.#forget("expired");
      throw signedOutError();
    }
    try {
      const { tokens } = await this.#auth.refreshToken({ refreshToken: this.#refreshToken }, { headers: this.#refreshTrace });
      return this.#accept(tokens);
    } catch (error) {
      // Only an explicit reason ends the session. After any other error the cookie may still be valid.
      if (isSessionEnd(error)) this.#forget("expired");
      throw error;
    }
  }

  #accept(tokens: Tokens | undefined): string {
    if (!tokens) throw new ConnectError("the response has no tokens", Code.DataLoss);
    this.#use(tokens.accessToken, tokens.accessExpireTime);
    this.#refreshToken = tokens.refreshToken;
    this.#refreshTrace = newTrace();
    this.#browser.store.set(HINT, "1");
    this.#become({ kind: "signedIn", userId: tokens.userId });
    return tokens.accessToken;
  }

  #use(value: string, expireTime: Timestamp | undefined): void {
    if (!expireTime) throw new ConnectError("the response has no access token", Code.DataLoss);
    const now = Date.now();
    const lifeMs = timestampMs(expireTime) - now;
    const useMs = Math.max(lifeMs - Math.min(MARGIN_MS, lifeMs / 3), LEAST_USE_MS);
    this.#token = { value, refreshAtMs: now + useMs };
    this.#keepFresh(useMs);
  }

  #forget(cause: SignedOutCause): void {
    this.#keeper.abort();
    this.#token = undefined;
    this.#refreshToken = "";
    this.#browser.store.remove(HINT);
    this.#become({ kind: "signedOut", cause });
  }

  /** Replaces the token before it expires, so that no call waits for a refresh. */
  #keepFresh(useMs: number): void {
    this.#keeper.abort();
    const { signal } = (this.#keeper = new AbortController());
    void sleep(useMs, signal).then(() => this.#refreshUntilDecided(signal));
  }

  /** Refreshes until the server issues tokens or ends the session. */
  async #refreshUntilDecided(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff();
    while (!signal.aborted) {
      try {
        await this.#refresh();
        return;
      } catch (error) {
        if (isSessionEnd(error)) return;
        await waitAfter(error, backoff, signal);
      }
    }
  }

  #onTabMessage(message: TabMessage): void {
    if (message !== "signedIn") this.#forget(message);
    // The cookie may now belong to another user.
    else void this.#refreshUntilDecided(new AbortController().signal);
  }

  #notifyTabs(message: TabMessage): void {
    this.#browser.channel.post(message);
  }

  #become(state: SessionState): void {
    const before = this.#state;
    this.#state = state;
    const same = before.kind === state.kind && userOf(before) === userOf(state);
    if (!same) for (const listener of this.#listeners) listener(state);
  }
}

function userOf(state: SessionState): string | undefined {
  return state.kind === "signedIn" ? state.userId : undefined;
}
