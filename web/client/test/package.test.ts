import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

const CONSUMER = `
import { createTrellis, isSessionEnd, users, type Browser } from "trellis-client";

const entries = new Map<string, string>();
const browser: Browser = {
  store: {
    keys: () => [...entries.keys()],
    get: (key) => entries.get(key) ?? null,
    set: (key, value) => void entries.set(key, value),
    remove: (key) => void entries.delete(key),
  },
  exclusive: (_, task) => task(),
  channel: { post: () => {}, listen: () => {} },
};
const trellis = createTrellis({ baseUrl: "http://127.0.0.1:9", browser });
const own = trellis.client(users.UsersService);
try {
  await own.getUser({ userId: "0190b2c4-7d1e-7abc-8def-0123456789ab" });
} catch (error) {
  if (isSessionEnd(error)) console.log("no session, as expected");
}
`;

/** The packed package in a folder of its own, with nothing else of this repository in reach. */
function install(folder: string): void {
  execFileSync("npm", ["run", "--silent", "pack", "--", "--pack-destination", folder], { stdio: "pipe" });
  const archive = readdirSync(folder).find((name) => name.endsWith(".tgz"));
  assert.ok(archive, "npm pack wrote no archive");
  const modules = join(folder, "node_modules");
  const place = join(modules, "trellis-client");
  mkdirSync(place, { recursive: true });
  execFileSync("tar", ["xzf", join(folder, archive), "-C", place, "--strip-components=1"]);
  const { dependencies } = JSON.parse(readFileSync(join(place, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  for (const name of Object.keys(dependencies)) {
    mkdirSync(join(modules, name, ".."), { recursive: true });
    symlinkSync(resolve("node_modules", name), join(modules, name));
  }
}

test("the packed client compiles and runs outside the repository", () => {
  const folder = mkdtempSync(join(tmpdir(), "trellis-client-"));
  try {
    install(folder);
    writeFileSync(join(folder, "package.json"), '{"type": "module"}');
    writeFileSync(join(folder, "consumer.ts"), CONSUMER);
    for (const [module, moduleResolution] of [["NodeNext", "NodeNext"], ["ESNext", "bundler"]] as const) {
      const compilerOptions = {
        target: "ES2022",
        module,
        moduleResolution,
        lib: ["ES2023", "DOM", "DOM.Iterable", "DOM.AsyncIterable"],
        types: [],
        strict: true,
        skipLibCheck: false,
      };
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["consumer.ts"] }));
      execFileSync(resolve("node_modules/.bin/tsc"), ["-p", folder], { stdio: "pipe", encoding: "utf8" });
    }
    const output = execFileSync(process.execPath, [join(folder, "consumer.js")], { encoding: "utf8" });
    assert.equal(output.trim(), "no session, as expected");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
