// A labelled input with a hint and a place for what the server says is wrong with it.

import { h, newId, setAttribute, setText } from "../dom.js";
import { sentence } from "../explain.js";

export interface FieldOptions {
  /** The field's name in the contract. */
  readonly name: string;
  readonly label: string;
  readonly type?: string;
  readonly autocomplete?: string;
  readonly hint?: string;
  /** What its value must look like, in words: the contract says it as a pattern. */
  readonly shape?: string;
  readonly value?: string;
  /** Lower case and no correction, as for addresses and handles. */
  readonly literal?: boolean;
}

export class Field {
  readonly name: string;
  readonly element: HTMLElement;
  readonly #input: HTMLInputElement;
  readonly #error: HTMLElement;
  readonly #shape: string | undefined;

  constructor({ name, label, type = "text", autocomplete = "off", hint, shape, value = "", literal = false }: FieldOptions) {
    this.name = name;
    this.#shape = shape;
    const id = newId(name);
    const hintElement = hint ? h("p", { class: "field-hint", id: `${id}-hint` }, hint) : undefined;
    this.#error = h("p", { class: "field-error", id: `${id}-error` });
    this.#input = h("input", {
      id,
      name,
      type,
      autocomplete,
      class: "input",
      "aria-describedby": [hintElement?.id, this.#error.id].filter(Boolean).join(" "),
      ...(literal ? { autocapitalize: "none", autocorrect: "off", spellcheck: "false" } : {}),
      on: { input: () => this.showError("") },
    });
    this.#input.value = value;
    this.element = h("div", { class: "field" }, h("label", { for: id }, label), this.#input, hintElement, this.#error);
  }

  get value(): string {
    return this.#input.value;
  }

  clear(): void {
    this.#input.value = "";
  }

  focus(): void {
    this.#input.focus();
  }

  /** Shows what the server says of the value. */
  showViolation(description: string): void {
    if (this.value === "") this.showError("This is needed.");
    else if (this.#shape && description.startsWith("must match")) this.showError(this.#shape);
    else this.showError(sentence(description));
  }

  showError(message: string): void {
    setText(this.#error, message);
    setAttribute(this.#input, "aria-invalid", message !== "" && "true");
  }
}
