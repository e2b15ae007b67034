// The message composer. Enter sends, Shift+Enter inserts a line break.

import { h, newId, setText } from "../dom.js";
import { explain } from "../explain.js";
import { icon } from "../icons.js";

export interface ComposerOptions {
  readonly label: string;
  /** The draft. */
  readonly draft: () => string;
  readonly keepDraft: (text: string) => void;
  readonly send: (text: string) => void;
  /** Called when the user wants to edit their last message. */
  readonly editLast: () => void;
}

/** A message that is being edited. */
export interface Revision {
  readonly text: string;
  /** Rejects when the message cannot be saved. */
  readonly save: (text: string) => Promise<void>;
}

export class Composer {
  readonly element: HTMLFormElement;
  readonly #options: ComposerOptions;
  readonly #input: HTMLTextAreaElement;
  readonly #problem: HTMLElement;
  readonly #banner: HTMLElement;
  #revision: Revision | undefined;

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
    this.#input.value = options.draft();
    this.#problem = h("p", { class: "problem", role: "alert" });
    const label = h("label", { for: id, class: "visually-hidden" }, options.label);
    const send = h("button", { class: "button primary round", type: "submit", "aria-label": "Send" }, icon("send"));
    const onSubmit = (event: Event) => {
      event.preventDefault();
      void this.#submit();
    };
    const cancel = { class: "link", type: "button", on: { click: () => this.#endRevision() } };
    this.#banner = h("p", { class: "composer-banner" }, icon("edit"), "Editing a message", h("button", cancel, "Cancel"));
    this.#banner.hidden = true;
    const line = h("div", { class: "composer-line" }, label, this.#input, send);
    this.element = h("form", { class: "composer", on: { submit: onSubmit } }, this.#banner, this.#problem, line);
    queueMicrotask(() => this.#fit());
  }

  focus(): void {
    this.#input.focus();
  }

  /** Edits a message until it is saved or cancelled. The draft is kept. */
  revise(revision: Revision): void {
    this.#revision = revision;
    this.#banner.hidden = false;
    this.#show(revision.text);
  }

  #endRevision(): void {
    this.#revision = undefined;
    this.#banner.hidden = true;
    this.#show(this.#options.draft());
  }

  #show(text: string): void {
    this.#input.value = text;
    setText(this.#problem, "");
    this.#fit();
    this.#input.focus();
  }

  #onInput(): void {
    if (!this.#revision) this.#options.keepDraft(this.#input.value);
    setText(this.#problem, "");
    this.#fit();
  }

  #onKey(event: KeyboardEvent): void {
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      void this.#submit();
    } else if (event.key === "Escape" && this.#revision) {
      this.#endRevision();
    } else if (event.key === "ArrowUp" && this.#input.value === "" && !this.#revision) {
      event.preventDefault();
      this.#options.editLast();
    }
  }

  async #submit(): Promise<void> {
    if (this.#revision) await this.#save(this.#revision);
    else this.#send();
  }

  async #save(revision: Revision): Promise<void> {
    const text = this.#input.value.trim();
    if (text === "" || this.#input.readOnly) return;
    this.#input.readOnly = true;
    try {
      if (text !== revision.text) await revision.save(text);
      // Another message may have been chosen meanwhile.
      if (this.#revision === revision) this.#endRevision();
    } catch (error) {
      setText(this.#problem, explain(error));
    } finally {
      this.#input.readOnly = false;
    }
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

  /** Adjusts the height to the text, up to the limit in the style sheet. */
  #fit(): void {
    this.#input.style.height = "auto";
    this.#input.style.height = `${this.#input.scrollHeight + 2}px`;
  }
}

/** The `keyCode` of a key that an input method handles (UI Events, section 7.3.1). */
const KEY_CODE_COMPOSING = 229;

/**
 * Whether an input method handles the key. Safari ends the composition before the keydown event of the Enter key that
 * ends it: `isComposing` is false by then, and only the key code shows that the key belongs to the input method.
 */
export function isComposing({ isComposing: composing, keyCode }: Pick<KeyboardEvent, "isComposing" | "keyCode">): boolean {
  return composing || keyCode === KEY_CODE_COMPOSING;
}
