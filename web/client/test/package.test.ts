import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { build } from "vite";

/** A contract of a service of the SDK's user. */
const SHOP = `
syntax = "proto3";
package shop.v1;
service ShopService {
  rpc ListItems(ListItemsRequest) returns (ListItemsResponse);
}
message Item {
  string name = 1;
}
message ListItemsRequest {
  int32 page_size = 1;
}
message ListItemsResponse {
  repeated Item items = 1;
}
`;

const CONSUMER = `
import { createTrellis, isSessionEnd, type Browser } from "trellis-client";

import { ShopService } from "./gen/shop_pb.js";

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
const shop = trellis.client(ShopService);
try {
  const { items } = await shop.listItems({ pageSize: 20 });
  const names: string[] = items.map((item) => item.name);
  console.log(names.join());
} catch (error) {
  if (isSessionEnd(error)) console.log("no session, as expected");
}
`;

/** Installs the packed package in an empty folder outside the repository. */
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

/** Bundles the program for a browser. */
async function bundle(folder: string): Promise<void> {
  const lib = { entry: join(folder, "consumer.ts"), formats: ["es" as const], fileName: "consumer" };
  const output = { outDir: join(folder, "bundle"), minify: false, target: "es2022" };
  await build({ root: folder, configFile: false, logLevel: "error", build: { ...output, lib } });
}

/** Generates the types of the contract with buf and protoc-gen-es, as client/README.md describes. */
function generate(folder: string): void {
  mkdirSync(join(folder, "proto"));
  writeFileSync(join(folder, "proto", "shop.proto"), SHOP);
  const local = resolve("node_modules/.bin/protoc-gen-es");
  const plugin = { local, out: join(folder, "gen"), opt: ["target=ts", "import_extension=js"] };
  const template = JSON.stringify({ version: "v2", plugins: [plugin] });
  execFileSync(resolve("node_modules/.bin/buf"), ["generate", join(folder, "proto"), "--template", template], { stdio: "pipe" });
}

test("the packed client works outside the repository", async () => {
  const folder = mkdtempSync(join(tmpdir(), "trellis-client-"));
  try {
    install(folder);
    writeFileSync(join(folder, "package.json"), '{"type": "module"}');
    generate(folder);
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
    await bundle(folder);
    for (const program of ["consumer.js", "bundle/consumer.js"]) {
      const output = execFileSync(process.execPath, [join(folder, program)], { encoding: "utf8" });
      assert.equal(output.trim(), "no session, as expected");
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
