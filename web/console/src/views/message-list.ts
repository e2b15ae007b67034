// The messages of the open conversation. Opens at the first unread message, follows the newest while the reader is
// at the end, loads older ones near the beginning, and keeps the reading position otherwise. A message counts as read
// when it has been on the screen.

import { h, setAttribute, setText } from "../dom.js";
import { icon } from "../icons.js";
import { KeyedList } from "../keyed-list.js";
import type { Chats } from "../model/chats.js";
import { type Row, rowsOf } from "../model/rows.js";
import type { Thread } from "../model/thread.js";
import { type MessageActions, rowView } from "./message.js";

/** The distance in pixels from an edge that counts as at the edge. */
const NEAR_PX = 120;
/** The height of the read messages that stay visible above the first unread one. */
const UNREAD_MARGIN_PX = 96;

export class MessageList {
  readonly element: HTMLElement;
  readonly #chats: Chats;
  readonly #thread: Thread;
  readonly #list: KeyedList<Row>;
  readonly #rows: HTMLElement;
  readonly #scroller: HTMLElement;
  readonly #top: HTMLElement;
  readonly #retry: HTMLButtonElement;
  readonly #toNewest: HTMLButtonElement;
  /** The first message that was unread when the conversation was opened. */
  readonly #firstUnread: bigint | undefined;
  /** Whether the list still has to scroll to the first unread message. */
  #opening: boolean;
  #atEnd = true;

  constructor(chats: Chats, thread: Thread, actions: MessageActions) {
    this.#chats = chats;
    this.#thread = thread;
    this.#firstUnread = thread.unread > 0 ? thread.readNo + 1n : undefined;
    this.#opening = this.#firstUnread !== undefined;
    const rows = h("ol", { class: "messages", on: { keydown: (event) => this.#onKey(event) } });
    this.#rows = rows;
    this.#list = new KeyedList(rows, ({ key }) => key, (row) => rowView(chats, actions, row));
    this.#top = h("p", { class: "history" });
    this.#retry = h("button", { class: "link history", type: "button", on: { click: () => this.#readOlder() } }, "Try again");
    // Focusable, so that the arrow keys scroll.
    const attributes = { class: "messages-scroll", tabindex: "0", role: "region", "aria-label": "Messages" };
    this.#scroller = h("div", { ...attributes, on: { scroll: () => this.#onScroll() } }, this.#top, this.#retry, rows);
    const jump = { class: "to-newest", type: "button", on: { click: () => this.follow() } };
    this.#toNewest = h("button", jump, icon("down"), "Newest messages");
    this.element = h("div", { class: "messages-frame" }, this.#scroller, this.#toNewest);
    // The size of the window may change.
    new ResizeObserver(() => this.#keepPlace()).observe(this.#scroller);
  }

  render(): void {
    const { scrollHeight, scrollTop } = this.#scroller;
    const firstBefore = this.#scroller.querySelector("ol > li");
    // With two members, the side and color show the author.
    this.#rows.classList.toggle("direct", this.#thread.memberCount === 2);
    this.#list.render(rowsOf(this.#chats, this.#thread, new Date(), this.#firstUnread));
    this.#renderTop();
    this.#giveTabStop(this.#actionButtons().at(-1));
    const grewAbove = firstBefore !== null && firstBefore !== this.#scroller.querySelector("ol > li");
    if (this.#opening) this.#scrollToUnread();
    else if (this.#atEnd) this.#scrollToEnd();
    else if (grewAbove) this.#scroller.scrollTop = scrollTop + this.#scroller.scrollHeight - scrollHeight;
    this.#onScroll();
  }

  /** Scrolls to the newest message, and follows new ones. */
  follow(): void {
    this.#opening = false;
    this.#scrollToEnd();
    this.noteSeen();
  }

  /** Marks the messages on the screen and earlier ones as read, unless the page is hidden. */
  noteSeen(): void {
    if (this.#opening || document.visibilityState !== "visible") return;
    const { scrollTop, clientHeight } = this.#scroller;
    if (clientHeight === 0) return;
    const bottom = scrollTop + clientHeight;
    const rows = [...this.#rows.children] as HTMLElement[];
    const seen = rows.findLast((row) => row.dataset["no"] !== undefined && topOf(row, this.#scroller) < bottom);
    if (seen) this.#chats.seen(this.#thread, BigInt(seen.dataset["no"] ?? 0));
  }

  #scrollToEnd(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#atEnd = true;
    this.#toNewest.hidden = true;
  }

  /** Shows the first unread message as soon as the messages before it are loaded. */
  #scrollToUnread(): void {
    const { history } = this.#thread;
    if (history === "unread" || history === "loading") return this.#scrollToEnd();
    this.#opening = false;
    const mark = this.#rows.querySelector<HTMLElement>(".unread-mark");
    if (!mark) return this.#scrollToEnd();
    this.#scroller.scrollTop = topOf(mark, this.#scroller) - UNREAD_MARGIN_PX;
  }

  #renderTop(): void {
    const { history, createTime } = this.#thread;
    const words = {
      unread: "Loading messages…",
      loading: "Loading messages…",
      more: "",
      failed: "Earlier messages could not be loaded. Check your connection, then try again.",
      complete: `Created on ${createTime.toLocaleDateString(undefined, { dateStyle: "long" })}`,
    };
    setText(this.#top, words[history]);
    this.#retry.hidden = history !== "failed";
  }

  #actionButtons(): HTMLElement[] {
    return [...this.#rows.querySelectorAll<HTMLElement>(".message-more")];
  }

  /** Makes one of all message buttons the tab stop. */
  #giveTabStop(button: HTMLElement | undefined): void {
    for (const other of this.#rows.querySelectorAll(".message-more[tabindex='0']")) {
      if (other !== button) setAttribute(other, "tabindex", "-1");
    }
    if (button) setAttribute(button, "tabindex", "0");
  }

  /** Moves the focus from message to message with the arrow keys. */
  #onKey(event: KeyboardEvent): void {
    const buttons = this.#actionButtons();
    const at = buttons.findIndex((button) => button === document.activeElement);
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const next = at < 0 || step === undefined ? undefined : buttons[at + step];
    if (!next) return;
    event.preventDefault();
    this.#giveTabStop(next);
    next.focus();
  }

  #onScroll(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    // A list that is not attached has no scroll position.
    if (clientHeight === 0) return;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.#toNewest.hidden = this.#atEnd;
    this.noteSeen();
    if (scrollTop < NEAR_PX && this.#thread.history === "more") this.#readOlder();
  }

  #readOlder(): void {
    void this.#chats.readOlder(this.#thread);
  }

  #keepPlace(): void {
    if (this.#atEnd) this.#scrollToEnd();
    this.noteSeen();
  }
}

/** The offset of an element within the scroller's content, in pixels. */
function topOf(element: HTMLElement, scroller: HTMLElement): number {
  return element.getBoundingClientRect().top - scroller.getBoundingClientRect().top + scroller.scrollTop;
}
