// Elements in one line. Text is only ever set as text: names from a trace are data, never markup.

type Handler = (event: never) => void;
type Attribute = string | number | boolean | null | undefined | Handler;
type Child = Node | string | null | undefined | false;

/** An element. `on…` are listeners, names with `--` CSS variables, the rest attributes; true is "",
 * false, null and undefined leave it out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Attribute> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (name.startsWith("--")) element.style.setProperty(name, String(value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => !!child || child === ""));
  return element;
}

/** An id that no other view on the page has. */
export function uniqueId(): string {
  return `profkit-${Math.random().toString(36).slice(2, 10)}`;
}

/** Characters at the end of a name that stay in sight when it is cut. */
const TAIL = 14;

/** A name that is cut in its middle where there is no room for it. */
export function name(text: string): HTMLElement {
  const cut = text.length > 2 * TAIL ? text.length - TAIL : text.length;
  return h("bdi", { class: "pk-name" }, h("span", {}, text.slice(0, cut)), cut < text.length && h("span", {}, text.slice(cut)));
}
