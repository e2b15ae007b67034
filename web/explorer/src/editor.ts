// The editor of the document: a text area with completion.

import { h, newId } from "../../console/src/dom.js";
import type { Choice, Completion } from "./syntax.js";

/** How many choices are shown. */
const SHOWN = 12;
const INDENT = "  ";

export interface EditorOptions {
  readonly complete: (document: string, caret: number) => Completion;
  readonly changed: () => void;
}

export class Editor {
  readonly element: HTMLElement;
  readonly #area: HTMLTextAreaElement;
  readonly #list = h("ul", { role: "listbox", "aria-label": "Completions", id: newId("completions"), hidden: true });
  readonly #options: EditorOptions;
  #choices: readonly Choice[] = [];
  /** Where the text begins that a choice replaces. */
  #start = 0;
  /** The position of the active choice; -1: none yet. */
  #active = -1;

  constructor(options: EditorOptions) {
    this.#options = options;
    const id = newId("document");
    this.#area = h("textarea", {
      id,
      class: "code",
      rows: "14",
      spellcheck: "false",
      autocapitalize: "none",
      autocomplete: "off",
      "aria-autocomplete": "list",
      "aria-controls": this.#list.id,
      on: {
        input: () => {
          this.#offer(false);
          options.changed();
        },
        keydown: (event) => this.#onKey(event),
        blur: () => this.#close(),
      },
    });
    this.element = h("div", { class: "editor" }, h("label", { for: id }, "Document"), this.#area, this.#list);
  }

  get text(): string {
    return this.#area.value;
  }

  set text(text: string) {
    this.#area.value = text;
    this.#close();
  }

  get caret(): number {
    return this.#area.selectionStart;
  }

  /** Moves the caret to a place that an error names. Lines and columns begin with 1. */
  show(line: number, column: number): void {
    const lines = this.text.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0) + column - 1;
    const word = /^\w*/.exec(this.text.slice(start))?.[0].length ?? 0;
    this.#area.focus();
    this.#area.setSelectionRange(start, start + Math.max(word, 1));
  }

  /** Inserts text at the caret, on a line of its own. */
  insertLine(text: string): void {
    this.#area.focus();
    const line = this.text.slice(0, this.caret).split("\n").at(-1) ?? "";
    const indent = /^ */.exec(line)?.[0] ?? "";
    const rest = line.trim() === "" ? "" : `\n${indent}${line.trimEnd().endsWith("{") ? INDENT : ""}`;
    this.#insert(`${rest}${text}`);
  }

  #onKey(event: KeyboardEvent): void {
    const { key, ctrlKey, metaKey } = event;
    if (key === " " && ctrlKey) {
      event.preventDefault();
      this.#offer(true);
    } else if (key === "Enter" && !ctrlKey && !metaKey && this.#active < 0) {
      event.preventDefault();
      this.#breakLine();
    } else if (!this.#list.hidden && this.#onListKey(key)) {
      event.preventDefault();
    }
  }

  /** Whether the key belongs to the list of choices. */
  #onListKey(key: string): boolean {
    if (key === "Escape") this.#close();
    else if (key === "ArrowDown") this.#activate((this.#active + 1) % this.#choices.length);
    else if (key === "ArrowUp") this.#activate((this.#active <= 0 ? this.#choices.length : this.#active) - 1);
    else if ((key === "Enter" && this.#active >= 0) || key === "Tab") this.#accept(this.#choices[Math.max(this.#active, 0)]);
    else return false;
    return true;
  }

  /** Begins a line with the indent of the one before. */
  #breakLine(): void {
    const line = this.text.slice(0, this.caret).split("\n").at(-1) ?? "";
    const indent = /^ */.exec(line)?.[0] ?? "";
    this.#insert(`\n${indent}${/[{([]\s*$/.test(line) ? INDENT : ""}`);
  }

  /** Shows the choices at the caret. Without `asked`, only if a name has begun there. */
  #offer(asked: boolean): void {
    const { start, choices } = this.#options.complete(this.text, this.caret);
    const typed = this.text.slice(start, this.caret);
    const isDone = choices.length === 1 && choices[0]?.text === typed;
    if (choices.length === 0 || isDone || (!asked && typed === "")) {
      this.#close();
      return;
    }
    this.#start = start;
    this.#choices = choices.slice(0, SHOWN);
    this.#active = -1;
    this.#area.removeAttribute("aria-activedescendant");
    this.#list.replaceChildren(...this.#choices.map((choice, at) => this.#item(choice, at)));
    this.#list.hidden = false;
  }

  #item(choice: Choice, at: number): HTMLElement {
    const item = h("li", { role: "option", id: `${this.#list.id}-${at}`, "aria-selected": "false" }, h("code", {}, choice.text), ` ${choice.note}`);
    // Before the editor loses the focus.
    item.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.#accept(choice);
    });
    return item;
  }

  #activate(at: number): void {
    this.#active = at;
    [...this.#list.children].forEach((item, position) => item.setAttribute("aria-selected", String(position === at)));
    const item = this.#list.children[at];
    if (item === undefined) return;
    this.#area.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  }

  #accept(choice: Choice | undefined): void {
    if (choice === undefined) return;
    this.#area.setSelectionRange(this.#start, this.caret);
    this.#insert(choice.text);
    this.#close();
  }

  /** Replaces the selection, so that the browser can undo it. */
  #insert(text: string): void {
    // No other function keeps the history of changes.
    if (document.execCommand("insertText", false, text)) return;
    this.#area.setRangeText(text, this.#area.selectionStart, this.#area.selectionEnd, "end");
    this.#options.changed();
  }

  #close(): void {
    this.#active = -1;
    this.#list.hidden = true;
    this.#area.removeAttribute("aria-activedescendant");
  }
}
