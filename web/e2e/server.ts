// The real server: the binary that TRELLIS_TEST_BINARY names, on a data folder and a port of its own.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { required } from "./environment.js";

const READY_WITHIN_MS = 60_000;
const STOPPED_WITHIN_MS = 30_000;
/** Marks of what must never be written: the tests' passwords, and what every token of ours begins with. */
const SECRETS = ["the password of", "the new password of", "not my password", "eyJ"];
/** Of what the server wrote, so much is shown when a test fails. */
const SHOWN_CHARACTERS = 12_000;

export type Settings = Readonly<Record<string, string>>;

export class Server {
  readonly url: string;
  readonly #port: number;
  readonly #dataFolder = mkdtempSync(join(tmpdir(), "trellis-e2e-"));
  #process: ChildProcess | undefined;
  #output = "";

  readonly #settings: Settings;

  private constructor(port: number, settings: Settings) {
    this.#port = port;
    this.#settings = settings;
    // Secure cookies are kept for the name localhost, not for 127.0.0.1.
    this.url = `http://localhost:${port}`;
  }

  /** A server with settings of its own, such as `{ TRELLIS_AUTH__ACCESS_LIFETIME: "3s" }`. */
  static async start(settings: Settings = {}): Promise<Server> {
    const server = new Server(await freePort(), settings);
    await server.run();
    return server;
  }

  /** Starts the process, on the data of the one before it. */
  async run(): Promise<void> {
    const anywhere = "127.0.0.1:0";
    const child = spawn(resolve(required("TRELLIS_TEST_BINARY")), [], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...withoutSettings(process.env),
        XDG_DATA_HOME: this.#dataFolder,
        TRELLIS_GATEWAY__LISTEN: `localhost:${this.#port}`,
        TRELLIS_ADMIN__LISTEN: anywhere,
        TRELLIS_USERS__LISTEN: anywhere,
        TRELLIS_AUTH__LISTEN: anywhere,
        TRELLIS_MESSAGING__LISTEN: anywhere,
        ...this.#settings,
      },
    });
    const keep = (chunk: Buffer) => {
      this.#output += chunk.toString();
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    this.#process = child;
    await this.#ready(child);
  }

  /** The process ends in the middle of whatever it does. */
  async kill(): Promise<void> {
    const child = this.#running();
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** The process is asked to stop, and does so in good order. */
  async stop(): Promise<void> {
    const child = this.#running();
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const outcome = await Promise.race([exited, sleep(STOPPED_WITHIN_MS, "still running", { ref: false })]);
    if (outcome === "still running") child.kill("SIGKILL");
    rmSync(this.#dataFolder, { recursive: true, force: true });
    assert.deepEqual(outcome, [0, null], `the server's end after SIGTERM\n${this.output()}`);
    const leaked = SECRETS.filter((mark) => this.#output.includes(mark));
    assert.deepEqual(leaked, [], "secrets in what the server wrote");
  }

  /** The end of what the server wrote, each line marked as its own. */
  output(): string {
    return this.#output.slice(-SHOWN_CHARACTERS).replace(/^/gm, "[trellis] ");
  }

  #running(): ChildProcess {
    const child = this.#process;
    assert.ok(child && child.exitCode === null, `the server is not running\n${this.output()}`);
    return child;
  }

  async #ready(child: ChildProcess): Promise<void> {
    const end = Date.now() + READY_WITHIN_MS;
    while (Date.now() < end) {
      assert.equal(child.exitCode, null, `the server ended while starting\n${this.output()}`);
      const answer = await fetch(`${this.url}/readyz?verbose`).catch(() => undefined);
      if (answer?.status === 200 && !(await answer.text()).includes("[-]")) return;
      await sleep(50);
    }
    child.kill("SIGKILL");
    assert.fail(`the server is not ready after ${READY_WITHIN_MS} ms\n${this.output()}`);
  }
}

/** The tests' own variables, and a developer's, are no settings of this server. */
function withoutSettings(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("TRELLIS_")));
}

/** A port that nobody has now, and that the kernel gives to no outgoing connection. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    const probe = createServer().listen(port, "localhost");
    const taken = once(probe, "error").then(() => true);
    if (await Promise.race([taken, once(probe, "listening").then(() => false)])) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
}
