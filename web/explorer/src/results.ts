// The results of an operation.

import { h, setText } from "../../console/src/dom.js";
import type { GraphqlError, Result } from "./run.js";

/** How many results of a subscription are kept. */
const MOST = 100;

export class Results {
  readonly element = h("section", { class: "results", "aria-labelledby": "results-title" });
  readonly #status = h("p", { class: "soft", role: "status" }, "Press Run, or Ctrl+Enter, to run the operation at the caret.");
  readonly #errors = h("ul", { class: "errors" });
  readonly #list = h("div", { class: "list" });
  readonly #show: (line: number, column: number) => void;
  #count = 0;

  /** `show` moves the caret to the place of an error. */
  constructor(show: (line: number, column: number) => void) {
    this.#show = show;
    this.element.append(h("h2", { id: "results-title" }, "Result"), this.#status, h("div", { "aria-live": "assertive" }, this.#errors), this.#list);
  }

  begin(status: string): void {
    this.#count = 0;
    this.#errors.replaceChildren();
    this.#list.replaceChildren();
    this.status = status;
  }

  set status(text: string) {
    setText(this.#status, text);
  }

  /** Shows a result, the newest first. */
  add(result: Result): number {
    this.#count += 1;
    this.#errors.replaceChildren(...(result.errors ?? []).map((error) => this.#error(error)));
    const text = h("pre", { tabindex: "0", role: "region", "aria-label": `Result ${this.#count}` }, h("code", {}, JSON.stringify(result, null, 2)));
    this.#list.prepend(text);
    if (this.#list.children.length > MOST) this.#list.lastElementChild?.remove();
    return this.#count;
  }

  /** Shows a failure that is none of GraphQL. */
  fail(message: string): void {
    this.#errors.replaceChildren(h("li", {}, message));
  }

  #error({ message, path, locations = [], extensions }: GraphqlError): HTMLElement {
    const [place] = locations;
    const code = [extensions?.["code"], extensions?.["reason"]].filter((one) => typeof one === "string");
    return h(
      "li",
      {},
      code.length > 0 && h("strong", {}, `${code.join(", ")}: `),
      message,
      code.includes("UNAUTHENTICATED") && " Open the menu at the top of this page to sign in or to paste a token.",
      path !== undefined && h("span", { class: "soft" }, ` at ${path.join(".")}`),
      " ",
      place !== undefined &&
        h("button", { type: "button", class: "small", on: { click: () => this.#show(place.line, place.column) } }, `Line ${place.line}, column ${place.column}`),
    );
  }
}
