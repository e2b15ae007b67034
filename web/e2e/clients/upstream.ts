// Runs the service of tests/python/shop.py, which one line of the configuration registers.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { required } from "../environment.js";
import { SHOP } from "./shop.js";

const DESCRIBED_WITHIN_MS = 20_000;

export class Upstream {
  /** The path of a configuration file with the service. */
  readonly configuration: string;
  readonly #folder = mkdtempSync(join(tmpdir(), "trellis-upstream-"));
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess, port: number) {
    this.#process = process;
    this.configuration = join(this.#folder, "trellis.toml");
    const name = SHOP.slice(0, SHOP.lastIndexOf("."));
    const line = `"${name}" = { to = ["http://127.0.0.1:${port}"], access = "public", descriptors = "reflection" }`;
    writeFileSync(this.configuration, `[gateway.external]\n${line}\n`);
  }

  static async start(): Promise<Upstream> {
    const command = `exec ${required("TRELLIS_TEST_PYTHON_UPSTREAM")}`;
    const child = spawn("sh", ["-c", command], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(child, "exit").then(() => assert.fail("the service ended while starting"));
    const [line] = await Promise.race([once(child.stdout, "data"), ended]);
    return new Upstream(child, Number(line));
  }

  /** Waits until the gateway has read the service's descriptors. */
  async isDescribed(gateway: string): Promise<void> {
    const end = Date.now() + DESCRIBED_WITHIN_MS;
    const call = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    while (!(await fetch(`${gateway}/${SHOP}/Show`, call)).ok) {
      assert.ok(Date.now() < end, "the gateway has not read the service's descriptors");
      await sleep(50);
    }
  }

  stop(): void {
    this.#process.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
