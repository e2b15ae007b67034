// Checks a page for accessibility problems with axe.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import type axe from "axe-core";
import type { Page } from "playwright-core";

const source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Returns each problem as the name of the rule and the element. */
export async function accessibilityProblems(page: Page): Promise<string[]> {
  // Injected through the debugger, which bypasses the page's content security policy.
  await page.evaluate(source);
  const { violations } = await page.evaluate(() => {
    const { axe: engine } = globalThis as unknown as { axe: typeof axe };
    return engine.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
  });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
}
