// Renders a list of values. Elements are kept, moved, added and removed by key, so that focus, selection and scroll
// position survive.

export interface ItemView<T> {
  readonly element: HTMLElement;
  update(item: T): void;
}

export class KeyedList<T> {
  readonly #parent: HTMLElement;
  readonly #keyOf: (item: T) => string;
  readonly #view: (item: T) => ItemView<T>;
  #views = new Map<string, ItemView<T>>();

  constructor(parent: HTMLElement, keyOf: (item: T) => string, view: (item: T) => ItemView<T>) {
    this.#parent = parent;
    this.#keyOf = keyOf;
    this.#view = view;
  }

  render(items: readonly T[]): void {
    const focused = document.activeElement;
    const views = new Map(items.map((item) => [this.#keyOf(item), this.#viewOf(item)]));
    for (const [key, { element }] of this.#views) if (!views.has(key)) element.remove();
    this.#views = views;
    this.#arrange([...views.values()].map(({ element }) => element));
    // An element loses the focus when it is moved.
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.#parent.contains(focused)) {
      focused.focus({ preventScroll: true });
    }
  }

  #viewOf(item: T): ItemView<T> {
    const view = this.#views.get(this.#keyOf(item)) ?? this.#view(item);
    view.update(item);
    return view;
  }

  #arrange(elements: HTMLElement[]): void {
    let place = this.#parent.firstChild;
    for (const element of elements) {
      if (element === place) place = place.nextSibling;
      else this.#parent.insertBefore(element, place);
    }
  }
}
