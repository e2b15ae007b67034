// A form that shows the server's errors: field errors beside the field, all others above the button.

import { violationsOf } from "../../../client/src/index.js";
import { h, setAttribute, setText } from "../dom.js";
import { explain } from "../explain.js";
import type { Field } from "./field.js";

export interface FormOptions {
  readonly fields: readonly Field[];
  readonly button: string;
  /** Returns the success message, or undefined when the page shows the success itself. */
  readonly submit: () => Promise<string | void>;
  /** Whether the action is irreversible. */
  readonly danger?: boolean;
}

/** An error of one field that the server does not name. */
export class WrongField extends Error {
  readonly field: Field;

  constructor(field: Field, message: string) {
    super(message);
    this.field = field;
  }
}

export function form({ fields, button, submit, danger = false }: FormOptions): HTMLFormElement {
  const problem = h("p", { class: "problem", role: "alert" });
  const success = h("p", { class: "success", role: "status" });
  const look = `button wide ${danger ? "danger" : "primary"}`;
  const submitButton = h("button", { class: look, type: "submit" }, button);
  let busy = false;

  async function run(): Promise<void> {
    if (busy) return;
    busy = true;
    setAttribute(submitButton, "aria-busy", "true");
    setText(problem, "");
    setText(success, "");
    try {
      setText(success, (await submit()) ?? "");
    } catch (error) {
      showFailure(error, fields, problem);
    } finally {
      busy = false;
      setAttribute(submitButton, "aria-busy", false);
    }
  }

  function onSubmit(event: Event): void {
    event.preventDefault();
    void run();
  }

  const elements = fields.map(({ element }) => element);
  // No browser validation: the server checks the rules of the contract.
  return h("form", { class: "form", novalidate: true, on: { submit: onSubmit } }, ...elements, problem, success, submitButton);
}

function showFailure(error: unknown, fields: readonly Field[], problem: HTMLElement): void {
  if (error instanceof WrongField) {
    error.field.showError(error.message);
    error.field.focus();
    return;
  }
  const violations = violationsOf(error);
  const wrong = fields.filter(({ name }) => violations.has(name));
  for (const field of wrong) field.showViolation(violations.get(field.name) ?? "");
  if (wrong.length === 0) setText(problem, explain(error));
  wrong[0]?.focus();
}
