// Content that has to be loaded first. Shows the progress, and a retry button after a failure.

import { h } from "../dom.js";
import { explain } from "../explain.js";

export function loaded<T>(what: string, read: () => Promise<T>, show: (value: T) => HTMLElement): HTMLElement {
  const frame = h("div", { class: "loaded" });
  const load = async () => {
    frame.replaceChildren(h("p", { class: "dialog-text", role: "status" }, `Loading ${what}…`));
    try {
      frame.replaceChildren(show(await read()));
    } catch (error) {
      const retry = h("button", { class: "link", type: "button", on: { click: () => void load() } }, "Try again");
      frame.replaceChildren(h("p", { class: "problem", role: "alert" }, `${explain(error)} `, retry));
    }
  };
  void load();
  return frame;
}
