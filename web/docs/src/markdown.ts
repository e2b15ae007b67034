// Shows the Markdown of descriptions: paragraphs, lists, `code` and **strong** text. Everything else is text.

import { type Child, h } from "../../console/src/dom.js";

export function markdown(text: string): HTMLElement {
  const blocks = text.split(/\n{2,}/).flatMap((block) => {
    const lines = block.split("\n");
    const first = lines.findIndex((line) => line.startsWith("- "));
    if (first < 0) return [h("p", {}, ...inline(lines.join(" ")))];
    const items = lines.slice(first).map((line) => h("li", {}, ...inline(line.replace(/^- /, ""))));
    const before = lines.slice(0, first).join(" ");
    const bullets = h("ul", { class: "bullets" }, ...items);
    return before ? [h("p", {}, ...inline(before)), bullets] : [bullets];
  });
  return h("div", { class: "prose" }, ...blocks);
}

/** `code` and **strong** text. */
export function inline(text: string): Child[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return h("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return h("strong", {}, part.slice(2, -2));
    return part;
  });
}
