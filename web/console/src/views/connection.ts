// Shows the state of the connection.

import { h, setText } from "../dom.js";
import type { Connection } from "../model/chats.js";

const WORDS: Record<Connection, string> = {
  connecting: "Connecting…",
  live: "Connected",
  reconnecting: "Reconnecting…",
  lost: "Disconnected. Reload the page to continue.",
};

export class ConnectionIndicator {
  readonly #words = h("span", {});
  readonly element = h("p", { class: "connection", role: "status" }, h("span", { class: "dot" }), this.#words);

  render(connection: Connection): void {
    this.element.dataset["connection"] = connection;
    setText(this.#words, WORDS[connection]);
  }
}
