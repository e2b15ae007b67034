// Shows a person or conversation as initials on a color.

import { h } from "../dom.js";

const HUES = 8;

export function avatar(id: string, name: string): HTMLElement {
  return h("span", { class: `avatar hue-${hueOf(id)}`, "aria-hidden": "true" }, initials(name));
}

export function initials(name: string): string {
  const words = name.split(/[\s,]+/).filter((word) => /\p{L}|\p{N}/u.test(word));
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0]];
  return letters.map((word) => [...(word ?? "?")][0]?.toLocaleUpperCase() ?? "").join("");
}

function hueOf(id: string): number {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 65_536;
  return sum % HUES;
}
