// Shows the Markdown of descriptions: paragraphs, lists, `code` and **strong** text. Everything else is text.

import { type Child, h } from "../../console/src/dom.js";

export function markdown(text: string): HTMLElement {
  const blocks = text.split(/\n{2,}/).flatMap((block) => {
    const { before, items } = parts(block);
    const paragraph = before === "" ? [] : [h("p", {}, ...inline(before))];
    if (items.length === 0) return paragraph;
    return [...paragraph, h("ul", { class: "bullets" }, ...items.map((item) => h("li", {}, ...inline(item))))];
  });
  return h("div", { class: "prose" }, ...blocks);
}

/** The text of a block before its list, and the items of the list. A line that does not begin one continues its item. */
export function parts(block: string): { readonly before: string; readonly items: readonly string[] } {
  const [before = "", ...items] = block.split(/^- /m).map((part) => part.trim().replace(/\s*\n\s*/g, " "));
  return { before, items };
}

/** `code` and **strong** text. */
export function inline(text: string): Child[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return h("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return h("strong", {}, part.slice(2, -2));
    return part;
  });
}
