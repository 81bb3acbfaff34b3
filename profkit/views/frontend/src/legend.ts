// The legend of a plot: what a line is, what it reads under the cursor, and a switch to hide it.
import { swatch } from "./bars";
import { h } from "./dom";

export interface Entry {
  label: string;
  color: string;
  hidden?: boolean;
}

export interface Legend {
  el: HTMLElement;
  /** Values in the order of the entries. */
  read(values: readonly string[]): void;
}

export function legend(entries: readonly Entry[], toggled: (index: number, shown: boolean) => void): Legend {
  const values = entries.map(() => h("output", {}));
  const buttons = entries.map(({ label, color, hidden }, i) => {
    const button = h(
      "button",
      {
        type: "button",
        "aria-pressed": String(!hidden),
        title: `Hide or show ${label}`,
        onclick: () => {
          const shown = button.getAttribute("aria-pressed") !== "true";
          button.setAttribute("aria-pressed", String(shown));
          toggled(i, shown);
        },
      },
      swatch(color),
      h("span", {}, label),
      values[i],
    );
    return button;
  });
  return {
    el: h("div", { class: "pk-legend", role: "group", "aria-label": "Lines" }, ...buttons),
    read: (texts) => values.forEach((value, i) => (value.textContent = texts[i] ?? "")),
  };
}
