import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

test("the example in the README is the one whose types are checked", () => {
  // npm runs the tests in web/.
  const readme = readFileSync("README.md", "utf8");
  assert.ok(readme.includes(`\`\`\`ts\n${readFileSync("client/example/chat.ts", "utf8")}\`\`\``));
});
