// A form that shows what the server says: what is wrong with a field beside it, everything else above the button.

import { violationsOf } from "../../../client/src/index.js";
import { h, setAttribute, setText } from "../dom.js";
import { explain } from "../explain.js";
import type { Field } from "./field.js";

export interface FormOptions {
  readonly fields: readonly Field[];
  readonly button: string;
  readonly submit: () => Promise<void>;
}

export function form({ fields, button, submit }: FormOptions): HTMLFormElement {
  const problem = h("p", { class: "problem", role: "alert" });
  const submitButton = h("button", { class: "button primary wide", type: "submit" }, button);
  let busy = false;

  async function run(): Promise<void> {
    if (busy) return;
    busy = true;
    setAttribute(submitButton, "aria-busy", "true");
    setText(problem, "");
    try {
      await submit();
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
  // The rules are the contract's: the server checks them, and the browser does not guess.
  return h("form", { class: "form", novalidate: true, on: { submit: onSubmit } }, ...elements, problem, submitButton);
}

function showFailure(error: unknown, fields: readonly Field[], problem: HTMLElement): void {
  const violations = violationsOf(error);
  const wrong = fields.filter(({ name }) => violations.has(name));
  for (const field of wrong) field.showViolation(violations.get(field.name) ?? "");
  if (wrong.length === 0) setText(problem, explain(error));
  wrong[0]?.focus();
}
