// Tabs by the book (WAI-ARIA): one tab stop for the row, arrows move along it, Tab goes on into the panel.
import { h, uniqueId } from "./dom";

export interface Tab {
  id: string;
  label: string;
}

export interface Tabs {
  list: HTMLElement;
  panels: HTMLElement;
  select(id: string): void;
}

/** `opened` is called with a tab's panel each time that it comes to the front. */
export function tabs(items: readonly Tab[], opened: (id: string, panel: HTMLElement) => void): Tabs {
  const prefix = uniqueId();
  const buttons = new Map<string, HTMLElement>();
  const bodies = new Map<string, HTMLElement>();
  let current = "";

  const select = (id: string) => {
    const body = bodies.get(id);
    if (!body || id === current) return;
    current = id;
    for (const [key, button] of buttons) {
      button.setAttribute("aria-selected", String(key === id));
      button.tabIndex = key === id ? 0 : -1;
    }
    for (const [key, panel] of bodies) panel.hidden = key !== id;
    opened(id, body);
  };

  const move = (event: KeyboardEvent) => {
    const at = items.findIndex((item) => item.id === current);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: items.length - 1 }[event.key];
    const next = to === undefined ? undefined : items.at(to % items.length);
    if (!next) return;
    event.preventDefault();
    select(next.id);
    buttons.get(next.id)?.focus();
  };

  for (const { id, label } of items) {
    const tab = `${prefix}-${id}-tab`;
    const body = `${prefix}-${id}`;
    buttons.set(
      id,
      h(
        "button",
        {
          class: "pk-tab",
          type: "button",
          role: "tab",
          id: tab,
          "aria-controls": body,
          "aria-selected": "false",
          tabindex: -1,
          onclick: () => select(id),
        },
        label,
      ),
    );
    bodies.set(
      id,
      h("div", { class: "pk-panel", role: "tabpanel", id: body, "aria-labelledby": tab, hidden: true, tabindex: 0 }),
    );
  }

  return {
    list: h("div", { class: "pk-tabs", role: "tablist", "aria-label": "Profile", onkeydown: move }, ...buttons.values()),
    panels: h("div", {}, ...bodies.values()),
    select,
  };
}
