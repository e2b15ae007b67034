// A group of radio buttons that saves each choice at once.

import { h, newId, setText } from "../dom.js";
import { explain } from "../explain.js";

export interface Option<T> {
  readonly value: T;
  readonly label: string;
  readonly hint: string;
}

export interface ChoicesOptions<T> {
  readonly legend: string;
  readonly options: readonly Option<T>[];
  readonly chosen: T;
  readonly save: (value: T) => Promise<void>;
}

export class Choices<T> {
  readonly element: HTMLElement;
  readonly #save: (value: T) => Promise<void>;
  readonly #inputs = new Map<T, HTMLInputElement>();
  readonly #problem = h("p", { class: "problem", role: "alert" });
  readonly #success = h("p", { class: "success", role: "status" });
  #chosen: T;
  #saving = false;

  constructor({ legend, options, chosen, save }: ChoicesOptions<T>) {
    this.#save = save;
    this.#chosen = chosen;
    const name = newId("choice");
    const rows = options.map((option) => this.#row(name, option));
    this.element = h("fieldset", { class: "choices" }, h("legend", {}, legend), ...rows, this.#problem, this.#success);
    this.show(chosen);
  }

  /** Shows the saved choice, unless a new choice is being saved. */
  show(value: T): void {
    if (this.#saving) return;
    this.#chosen = value;
    this.#check(value);
  }

  #check(value: T): void {
    for (const [of, input] of this.#inputs) input.checked = of === value;
  }

  #row(name: string, { value, label, hint }: Option<T>): HTMLElement {
    const id = newId(name);
    const on = { change: () => void this.#choose(value) };
    const input = h("input", { type: "radio", id, name, "aria-describedby": `${id}-hint`, on });
    this.#inputs.set(value, input);
    const text = h("div", {}, h("label", { for: id }, label), h("p", { class: "field-hint", id: `${id}-hint` }, hint));
    return h("div", { class: "choice-row" }, input, text);
  }

  async #choose(value: T): Promise<void> {
    if (this.#saving) return this.#check(this.#chosen);
    this.#saving = true;
    setText(this.#problem, "");
    setText(this.#success, "");
    try {
      await this.#save(value);
      this.#chosen = value;
      setText(this.#success, "Saved.");
    } catch (error) {
      setText(this.#problem, `Your choice is not saved. ${explain(error)}`);
      this.#check(this.#chosen);
    } finally {
      this.#saving = false;
    }
  }
}
