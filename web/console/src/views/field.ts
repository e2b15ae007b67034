// A labelled input with a hint and the server's error.

import { h, newId, setAttribute, setText } from "../dom.js";
import { explainViolation } from "../explain.js";

export interface FieldOptions {
  /** The field's name in the contract. */
  readonly name: string;
  readonly label: string;
  readonly type?: string;
  readonly autocomplete?: string;
  readonly hint?: string;
  readonly value?: string;
  /** Whether the browser must not capitalize or correct the value, as in addresses and handles. */
  readonly literal?: boolean;
}

export class Field {
  readonly name: string;
  readonly element: HTMLElement;
  readonly #input: HTMLInputElement;
  readonly #error: HTMLElement;

  constructor({ name, label, type = "text", autocomplete = "off", hint, value = "", literal = false }: FieldOptions) {
    this.name = name;
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

  /** Shows how to fix a value that violates a rule of the contract. */
  showViolation(description: string): void {
    this.showError(this.value === "" ? "This is required." : explainViolation(this.name, description));
  }

  showError(message: string): void {
    setText(this.#error, message);
    setAttribute(this.#input, "aria-invalid", message !== "" && "true");
  }
}
