// Builds DOM elements. Text becomes text nodes only, so users cannot inject markup.

export type Child = Node | string | undefined | false;

type Listener<K extends keyof HTMLElementEventMap> = (event: HTMLElementEventMap[K]) => void;

export type Props = {
  readonly on?: { readonly [K in keyof HTMLElementEventMap]?: Listener<K> };
  /** An attribute. `true` sets it without a value, `false` and `undefined` omit it. */
  readonly [attribute: string]: string | boolean | undefined | object;
};

/** Creates an element with attributes, listeners and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { on = {}, ...attributes }: Props = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const [type, listener] of Object.entries(on)) element.addEventListener(type, listener as EventListener);
  element.append(...present(children));
  return element;
}

/** Filters out absent children. */
export function present(children: readonly Child[]): (Node | string)[] {
  return children.filter((child) => child !== undefined && child !== false);
}

export function setAttribute(element: Element, name: string, value: unknown): void {
  if (value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Sets the text only when it differs, so that screen readers do not announce it again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Runs `render` once after a series of changes, such as a page of entries from the feed. */
export function batched(render: () => void): () => void {
  let planned = false;
  return () => {
    if (planned) return;
    planned = true;
    // Not in a microtask: the feed delivers each entry in a separate one.
    setTimeout(() => {
      planned = false;
      render();
    });
  };
}

let lastId = 0;

/** Returns a unique id for labels and descriptions. */
export function newId(prefix: string): string {
  lastId += 1;
  return `${prefix}-${lastId}`;
}
