// Regenerates client/src/gen from the contracts. TRELLIS_PROTO_DIR names their folder when this package was
// copied away from the repository.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";

const contracts = process.env.TRELLIS_PROTO_DIR ?? "../proto";

// What only the mesh reads stays out of the browser's bundle: policies, input rules and the HTTP form.
const forTheMesh = ["buf.validate", "google.api", "trellis.policy.v1"];

const modules = (...paths) => JSON.stringify({ version: "v2", modules: paths });
const buf = (...args) => execFileSync("node_modules/.bin/buf", args, { stdio: "inherit" });

rmSync("client/src/gen", { recursive: true, force: true });
buf(
  "generate",
  contracts,
  "--config",
  modules({ path: ".", excludes: ["third_party"] }, { path: "third_party" }),
  ...["auth", "users", "messaging"].flatMap((name) => ["--path", `${contracts}/trellis/${name}`]),
  ...forTheMesh.flatMap((name) => ["--exclude-type", name]),
);
buf("generate", ".", "--config", modules({ path: "client/proto" }));
