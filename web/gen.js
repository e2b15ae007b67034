// Regenerates client/src/gen, and e2e/clients/gen for the tests of other clients, from the contracts.
// TRELLIS_PROTO_DIR is their folder when the package is outside the repository.
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";

const contracts = process.env.TRELLIS_PROTO_DIR ?? "../proto";

// Options that only the mesh reads stay out of the browser's bundle: policies, input rules and the HTTP form.
const forTheMesh = ["buf.validate", "google.api", "trellis.policy.v1", "trellis.text.v1"];

const modules = (...paths) => JSON.stringify({ version: "v2", modules: paths });
const buf = (...args) => execFileSync("node_modules/.bin/buf", args, { stdio: "inherit" });

/** Generates `out` by a template: the contracts, and the messages in error details. */
function generate(out, template, ...errors) {
  rmSync(out, { recursive: true, force: true });
  buf(
    "generate",
    contracts,
    "--template",
    template,
    "--config",
    modules({ path: ".", excludes: ["third_party"] }, { path: "third_party" }),
    ...["auth", "users", "messaging"].flatMap((name) => ["--path", `${contracts}/trellis/${name}`]),
    ...forTheMesh.flatMap((name) => ["--exclude-type", name]),
  );
  buf("generate", ".", "--template", template, "--config", modules(...errors.map((path) => ({ path }))));
}

generate("client/src/gen", "buf.gen.yaml", "client/proto");
generate("e2e/clients/gen", "e2e/clients/buf.gen.yaml", "client/proto", "e2e/clients/proto");
