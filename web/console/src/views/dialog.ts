// Modal dialogs, as `<dialog>` elements: Esc closes them, and the focus stays inside and returns afterwards.

import { type Child, h, newId } from "../dom.js";
import { icon } from "../icons.js";

export interface Dialog {
  close(): void;
  /** Calls `listener` when the dialog closes. */
  onClose(callback: () => void): void;
}

/** Shows a dialog until it is closed. */
export function showDialog(title: string, content: (dialog: Dialog) => Child[]): Dialog {
  const titleId = newId("dialog-title");
  const element = h("dialog", { class: "dialog", "aria-labelledby": titleId, on: { close: () => element.remove() } });
  const dialog: Dialog = {
    close: () => element.close(),
    onClose: (callback) => element.addEventListener("close", callback),
  };
  const close = { class: "button quiet round", type: "button", "aria-label": "Close", on: { click: dialog.close } };
  const header = h("header", { class: "dialog-bar" }, h("h2", { id: titleId }, title), h("button", close, icon("close")));
  element.append(header, ...content(dialog).filter((child) => child !== undefined && child !== false));
  document.body.append(element);
  element.showModal();
  element.querySelector<HTMLElement>("[autofocus], input, .danger")?.focus();
  return dialog;
}

/** Asks for confirmation before an irreversible action. */
export function confirmDialog(title: string, text: string, action: string, act: () => void): void {
  showDialog(title, (dialog) => {
    const confirm = () => {
      dialog.close();
      act();
    };
    const keep = h("button", { class: "button", type: "button", on: { click: dialog.close } }, "Cancel");
    const go = h("button", { class: "button danger", type: "button", on: { click: confirm } }, action);
    return [h("p", { class: "dialog-text" }, text), h("div", { class: "dialog-actions" }, keep, go)];
  });
}
