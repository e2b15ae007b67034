// Runs the real server, the binary TRELLIS_TEST_BINARY, with its own data folder and port.

import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import * as contracts from "../client/src/gen/index.js";
import { required } from "./environment.js";

const READY_WITHIN_MS = 60_000;
const STOPPED_WITHIN_MS = 30_000;
/** Text that the server must not write: the tests' passwords, and the prefix of every token. */
const SECRETS = ["the password of", "the new password of", "not my password", "eyJ"];
/** The length of the server's output that a failed test prints. */
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
    // Browsers keep Secure cookies for localhost, not for 127.0.0.1.
    this.url = `http://localhost:${port}`;
  }

  /** Starts a server with settings such as `{ TRELLIS_AUTH__ACCESS_LIFETIME: "3s" }`. */
  static async start(settings: Settings = {}): Promise<Server> {
    const server = new Server(await freePort(), settings);
    await server.run();
    return server;
  }

  /** Starts the process with the data of the previous one. */
  async run(): Promise<void> {
    const child = spawn(resolve(required("TRELLIS_TEST_BINARY")), [], {
      stdio: ["ignore", "pipe", "pipe"],
      env: this.#environment(),
    });
    const keep = (chunk: Buffer) => {
      this.#output += chunk.toString();
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    this.#process = child;
    await this.#ready(child);
  }

  /** Kills the process with SIGKILL. */
  async kill(): Promise<void> {
    const child = this.#running();
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Stops the process with SIGTERM, and checks its exit code and output. */
  async stop(): Promise<void> {
    const child = this.#running();
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const outcome = await Promise.race([exited, sleep(STOPPED_WITHIN_MS, "still running", { ref: false })]);
    if (outcome === "still running") child.kill("SIGKILL");
    rmSync(this.#dataFolder, { recursive: true, force: true });
    assert.deepEqual(outcome, [0, null], `the server's end after SIGTERM\n${this.output()}`);
    const leaked = SECRETS.filter((mark) => this.#output.includes(mark));
    assert.deepEqual(leaked, [], "secrets in the server's output");
  }

  /** The end of the server's output, with a prefix on each line. */
  output(): string {
    return this.#output.slice(-SHOWN_CHARACTERS).replace(/^/gm, "[trellis] ");
  }

  /** Returns the link that makes the account that opens it an admin. */
  adminLink(): string {
    const output = execFileSync(resolve(required("TRELLIS_TEST_BINARY")), ["admin", "invite"], { env: this.#environment() });
    return output.toString().split("\n")[0] ?? "";
  }

  #environment(): NodeJS.ProcessEnv {
    const anywhere = "127.0.0.1:0";
    // The contracts of services; others have messages only.
    const names = Object.entries(contracts).filter(([, of]) => Object.keys(of).some((name) => name.endsWith("Service"))).map(([name]) => name);
    const services = names.map((name) => [`TRELLIS_${name.toUpperCase()}__LISTEN`, anywhere]);
    return {
      ...withoutSettings(process.env),
      XDG_DATA_HOME: this.#dataFolder,
      TRELLIS_GATEWAY__LISTEN: `localhost:${this.#port}`,
      TRELLIS_ADMIN__LISTEN: anywhere,
      ...Object.fromEntries(services),
      ...this.#settings,
    };
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
      const response = await fetch(`${this.url}/readyz?verbose`).catch(() => undefined);
      if (response?.status === 200 && !(await response.text()).includes("[-]")) return;
      await sleep(50);
    }
    child.kill("SIGKILL");
    assert.fail(`the server is not ready after ${READY_WITHIN_MS} ms\n${this.output()}`);
  }
}

/** Removes the variables of the tests and of the developer's shell, which are not settings of this server. */
function withoutSettings(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !name.startsWith("TRELLIS_")));
}

/** Returns a free port outside the range that the kernel uses for outgoing connections. */
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
