// Overview: the key figures, where the time went, and what took most of it.
import { bar, legend, type Slice, swatch } from "./bars";
import { h, name as nameOf } from "./dom";
import { count, duration, share } from "./format";
import type { Context, Panel } from "./panel";
import type { Table } from "./protocol";

/** profkit/views/content.py, as far as it is shown here. */
interface Content {
  sentence: string;
  error: string | null;
  figures: { label: string; value: string; note: string }[];
  bar_title: string;
  bar: { key: string; label: string; ns: number; share: number; idle: boolean }[];
  phases: { phase: string; steps: string; tokens: string; time: string; host: string; gpu: string }[];
  phase_head: string[];
  top_title: string;
  findings: [title: string, remedy: string][];
  warnings: string[];
  missing: [what: string, why: string][];
}

export const overview: Panel = {
  id: "overview",
  label: "Overview",
  build(host, table: Table<Content>, context) {
    const { info } = table;
    const slices = info.bar.map(
      (part): Slice => ({ ...part, color: `--pk-${part.idle ? "idle" : "work"}-${part.key}` }),
    );
    const words = slices.map((slice) => `${slice.label} ${share(slice.share)}`).join("; ");
    host.append(
      h("p", { class: "pk-sentence" }, info.sentence),
      ...(info.error ? [h("p", { class: "pk-error", role: "alert" }, info.error)] : []),
      ...figures(info.figures),
      h(
        "div",
        { class: "pk-columns" },
        slices.length > 0 && section(info.bar_title, bar(slices, words), legend(slices)),
        h(
          "div",
          {},
          table.rows > 0 && section(info.top_title, top(table, context)),
          info.phases.length > 0 && section("Phases", phases(info)),
        ),
      ),
      ...notes(info),
    );
    return () => {};
  },
};

function section(title: string, ...content: (Node | false)[]): HTMLElement {
  return h("section", {}, h("h4", {}, title), ...content);
}

function figures(items: Content["figures"]): HTMLElement[] {
  // What is missing is said once, with its reason, at the foot of the tab.
  const shown = items.filter((item) => item.value !== "n/a");
  const list = shown.map(({ label, value, note }) => {
    const [digits, unit] = parts(value);
    return h(
      "div",
      { class: "pk-figure", title: note || null },
      h("dt", {}, label),
      h("dd", {}, digits, unit && h("span", { class: "pk-unit" }, ` ${unit}`)),
    );
  });
  return list.length ? [h("dl", { class: "pk-figures" }, ...list)] : [];
}

/** A number and its unit, to be set in two sizes. */
function parts(value: string): [string, string] {
  const match = /^(.*\d) (\D+)$/.exec(value);
  return match ? [match[1] as string, match[2] as string] : [value, ""];
}

function top(table: Table<Content>, context: Context): HTMLElement {
  const names = table.text("name");
  const short = table.text("short");
  const kinds = table.text("kind");
  const counts = table.numbers("count");
  const totals = table.numbers("total_ns");
  const shares = table.numbers("share");
  const longest = Math.max(...shares.map((part) => part ?? 0), 1e-9);
  const rows = names.map((name, i) =>
    h(
      "tr",
      {},
      h("th", { scope: "row", "aria-label": short[i], title: name }, h("div", {}, swatch(`--pk-work-${kinds[i]}`), nameOf(short[i] ?? name))),
      h("td", {}, h("i", { class: "pk-share", "--pk-color": `var(--pk-work-${kinds[i]})`, "--pk-part": (shares[i] ?? 0) / longest })),
      h("td", { class: "pk-number", title: `${count(counts[i])} calls` }, duration(totals[i])),
      h("td", { class: "pk-number" }, share(shares[i])),
    ),
  );
  return h(
    "div",
    {},
    h("table", { class: "pk-table pk-top" }, h("tbody", {}, ...rows)),
    h("button", { class: "pk-link", type: "button", onclick: () => context.open("kernels") }, table.info.top_title.replace("Top", "All")),
  );
}

function phases({ phases: rows, phase_head: head }: Content): HTMLElement {
  return h(
    "table",
    { class: "pk-table pk-phases" },
    h("thead", {}, h("tr", {}, ...head.map((text, i) => h("th", { scope: "col", class: i ? "pk-number" : null }, text)))),
    h(
      "tbody",
      {},
      ...rows.map((row) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, swatch(`--pk-phase-${row.phase}`), row.phase),
          ...[row.steps, row.tokens, row.time, row.host, row.gpu].map((text) => h("td", { class: "pk-number" }, text)),
        ),
      ),
    ),
  );
}

function notes(info: Content): HTMLElement[] {
  const lists = [];
  if (info.findings.length) {
    const items = info.findings.map(([title, remedy]) => h("li", {}, h("strong", {}, title), ` ${remedy}`));
    lists.push(section("What to change first", h("ol", {}, ...items)));
  }
  if (info.warnings.length) {
    lists.push(section("Warnings", h("ul", {}, ...info.warnings.map((text) => h("li", {}, text)))));
  }
  if (info.missing.length) {
    const items = info.missing.map(([what, why]) => h("li", {}, h("strong", {}, what), `: ${why}`));
    lists.push(section("Not measured", h("ul", {}, ...items)));
  }
  return lists;
}
