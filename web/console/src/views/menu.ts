// A menu of actions that opens at a button, by the WAI-ARIA pattern: arrow keys move, Esc closes, the focus returns.

import { h } from "../dom.js";

export interface MenuItem {
  readonly label: string;
  readonly danger?: boolean;
  readonly act: () => void;
}

const GAP_PX = 4;

export function openMenu(button: HTMLElement, items: readonly MenuItem[]): void {
  // The browser closes a popover when the user clicks elsewhere, and shows it above all other content.
  const menu = h("div", { class: "menu", role: "menu", popover: "auto", "aria-label": button.getAttribute("aria-label") ?? "" });
  menu.append(...items.map((item) => itemOf(item, () => menu.hidePopover())));
  menu.addEventListener("keydown", (event) => onKey(menu, event));
  menu.addEventListener("toggle", (event) => {
    if ((event as ToggleEvent).newState !== "closed") return;
    button.removeAttribute("aria-expanded");
    if (menu.contains(document.activeElement)) button.focus();
    menu.remove();
  });
  button.setAttribute("aria-expanded", "true");
  // Inserted beside its button, so that it is not inert inside a dialog.
  button.after(menu);
  menu.showPopover();
  place(menu, button.getBoundingClientRect());
  buttonsOf(menu)[0]?.focus();
}

function itemOf({ label, danger, act }: MenuItem, close: () => void): HTMLElement {
  const click = () => {
    close();
    act();
  };
  return h("button", { class: danger ? "menu-item danger" : "menu-item", role: "menuitem", type: "button", on: { click } }, label);
}

/** Places the menu below the button, or above it when there is no room, and inside the window. */
function place(menu: HTMLElement, at: DOMRect): void {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + GAP_PX;
  const top = below + height > window.innerHeight ? at.top - GAP_PX - height : below;
  menu.style.top = `${Math.max(GAP_PX, top)}px`;
  menu.style.left = `${Math.max(GAP_PX, Math.min(at.left, window.innerWidth - width - GAP_PX))}px`;
}

function onKey(menu: HTMLElement, event: KeyboardEvent): void {
  const buttons = buttonsOf(menu);
  const at = buttons.findIndex((button) => button === document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (event.key === "Tab") menu.hidePopover();
  if (to === undefined) return;
  event.preventDefault();
  buttons.at(to % buttons.length)?.focus();
}

function buttonsOf(menu: HTMLElement): HTMLElement[] {
  return [...menu.querySelectorAll<HTMLElement>("[role=menuitem]")];
}
