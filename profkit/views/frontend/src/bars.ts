// A whole and its parts: one bar cut into slices, and the slices as a table underneath.
import { h } from "./dom";
import { duration, share } from "./format";

export interface Slice {
  label: string;
  color: string; // a CSS variable of the view
  ns: number;
  share: number;
  idle?: boolean; // hatched: no work was done
}

export function bar(slices: readonly Slice[], describe: string): HTMLElement {
  const parts = slices.map(({ label, color, ns, share: part, idle }) =>
    h(
      "div",
      {
        class: `pk-slice${idle ? " pk-idle" : ""}`,
        title: `${label}: ${duration(ns)}, ${share(part)}`,
        "--pk-color": `var(${color})`,
        "--pk-on": `var(${color.replace("--pk-", "--pk-on-")})`,
        "--pk-part": part,
      },
      h("span", {}, share(part)),
    ),
  );
  return h("div", { class: "pk-bar", role: "img", "aria-label": describe }, ...parts);
}

export function legend(slices: readonly Slice[]): HTMLElement {
  const rows = slices.map(({ label, color, ns, share: part, idle }) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, swatch(color, idle), label),
      h("td", { class: "pk-number" }, duration(ns)),
      h("td", { class: "pk-number" }, share(part)),
    ),
  );
  return h("table", { class: "pk-table pk-legend-table" }, h("tbody", {}, ...rows));
}

export function swatch(color: string, idle = false): HTMLElement {
  return h("span", { class: `pk-swatch${idle ? " pk-idle" : ""}`, "--pk-color": `var(${color})`, "aria-hidden": "true" });
}
