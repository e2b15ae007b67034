// Tabs by the WAI-ARIA pattern: one tab stop, and the arrow keys choose a panel.

import { h, newId, setAttribute } from "../dom.js";

export interface Tab {
  readonly label: string;
  /** Creates the panel when the tab is first shown. */
  readonly content: () => HTMLElement;
}

export function tabs(label: string, all: readonly Tab[]): HTMLElement {
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label });
  const parts = all.map((tab) => part(tab));
  const choose = (at: number) => {
    parts.forEach(({ button, panel, fill }, i) => {
      setAttribute(button, "aria-selected", String(i === at));
      setAttribute(button, "tabindex", i === at ? "0" : "-1");
      panel.hidden = i !== at;
      if (i === at) fill();
    });
  };
  list.append(...parts.map(({ button }) => button));
  parts.forEach(({ button }, i) => button.addEventListener("click", () => choose(i)));
  list.addEventListener("keydown", (event) => {
    const at = parts.findIndex(({ button }) => button === document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = (to + parts.length) % parts.length;
    choose(next);
    parts[next]?.button.focus();
  });
  choose(0);
  return h("div", {}, list, ...parts.map(({ panel }) => panel));
}

function part({ label, content }: Tab): { button: HTMLElement; panel: HTMLElement; fill: () => void } {
  const id = newId("tab");
  const panelId = `${id}-panel`;
  const button = h("button", { class: "tab", role: "tab", type: "button", id, "aria-controls": panelId }, label);
  const panel = h("div", { class: "tab-panel", role: "tabpanel", id: panelId, "aria-labelledby": id });
  const fill = () => {
    if (panel.childElementCount === 0) panel.append(content());
  };
  return { button, panel, fill };
}
