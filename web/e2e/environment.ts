// The environment variables of the tests.

import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

/** Returns a required environment variable. */
export function required(
  name: "TRELLIS_TEST_BINARY" | "TRELLIS_TEST_CHROMIUM" | "TRELLIS_TEST_PYTHON_UPSTREAM",
): string {
  const value = process.env[name];
  if (value) return value;
  const meaning = {
    TRELLIS_TEST_BINARY: "the trellis binary to test, such as ../target/debug/trellis",
    TRELLIS_TEST_CHROMIUM: "a Chromium to test with, such as /usr/bin/chromium",
    TRELLIS_TEST_PYTHON_UPSTREAM: "the command of tests/python/shop.py with a Python that has tests/requirements.txt",
  };
  throw new Error(`${name} is not set; set it to ${meaning[name]}`);
}

/** Returns the path of a screenshot. npm runs the tests in web/. */
export function artifact(name: string): string {
  const folder = resolve(process.env["TRELLIS_TEST_ARTIFACTS"] ?? "../target/test-artifacts");
  mkdirSync(folder, { recursive: true });
  return join(folder, name);
}
