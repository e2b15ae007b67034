// Where messages are written. Enter sends, Shift+Enter makes a new line.

import { h, newId, setText } from "../dom.js";
import { explain } from "../explain.js";
import { icon } from "../icons.js";

export interface ComposerOptions {
  readonly label: string;
  /** What was written here and not sent. */
  readonly draft: string;
  readonly keepDraft: (text: string) => void;
  readonly send: (text: string) => void;
}

export class Composer {
  readonly element: HTMLFormElement;
  readonly #options: ComposerOptions;
  readonly #input: HTMLTextAreaElement;
  readonly #problem: HTMLElement;

  constructor(options: ComposerOptions) {
    this.#options = options;
    const id = newId("message");
    this.#input = h("textarea", {
      id,
      class: "input composer-input",
      rows: "1",
      placeholder: "Write a message",
      enterkeyhint: "send",
      on: { input: () => this.#onInput(), keydown: (event) => this.#onKey(event) },
    });
    this.#input.value = options.draft;
    this.#problem = h("p", { class: "problem", role: "alert" });
    const label = h("label", { for: id, class: "visually-hidden" }, options.label);
    const send = h("button", { class: "button primary round", type: "submit", "aria-label": "Send" }, icon("send"));
    const onSubmit = (event: Event) => {
      event.preventDefault();
      this.#send();
    };
    const line = h("div", { class: "composer-line" }, label, this.#input, send);
    this.element = h("form", { class: "composer", on: { submit: onSubmit } }, this.#problem, line);
    queueMicrotask(() => this.#fit());
  }

  focus(): void {
    this.#input.focus();
  }

  #onInput(): void {
    this.#options.keepDraft(this.#input.value);
    setText(this.#problem, "");
    this.#fit();
  }

  #onKey(event: KeyboardEvent): void {
    // While an input method composes, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#send();
  }

  #send(): void {
    const text = this.#input.value.trim();
    if (text === "") return;
    try {
      this.#options.send(text);
    } catch (error) {
      setText(this.#problem, explain(error));
      return;
    }
    this.#input.value = "";
    this.#onInput();
    this.#input.focus();
  }

  /** As high as its text, up to the limit in the style sheet. */
  #fit(): void {
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight + 2}px`;
  }
}
