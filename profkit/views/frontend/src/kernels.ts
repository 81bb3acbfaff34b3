// Kernels: every kernel, kind or operator with its time; sorted, filtered and opened in place.
import { swatch } from "./bars";
import { h, name as nameOf } from "./dom";
import { count, duration, plural, share } from "./format";
import { type Context, notice, type Panel, refuse } from "./panel";
import type { Table } from "./protocol";

interface Info {
  by: By;
  where: "gpu" | "host";
}

type By = "name" | "kind" | "op";
type Key = "name" | "kind" | "count" | "total_ns" | "mean_ns" | "min_ns" | "max_ns" | "share";

interface Row {
  name: string;
  short: string;
  kind: string;
  numbers: Partial<Record<Key, number | null>>;
}

interface Column {
  key: Key;
  label: string;
  class?: string;
  show?: (value: number | null | undefined) => string; // of numbers
}

const COLUMNS: readonly Column[] = [
  { key: "kind", label: "Kind" },
  { key: "name", label: "Name" },
  { key: "count", label: "Calls", show: count, class: "pk-number" },
  { key: "total_ns", label: "Total", show: duration, class: "pk-number" },
  { key: "mean_ns", label: "Mean", show: duration, class: "pk-number pk-mean" },
  { key: "min_ns", label: "Min", show: duration, class: "pk-number pk-extra" }, // left out where it is narrow
  { key: "max_ns", label: "Max", show: duration, class: "pk-number pk-extra" },
  { key: "share", label: "Share", show: share, class: "pk-last" },
];

/** What a row may stand for. Without GPU work the rows are operators already. */
const GROUPINGS: readonly { by: By; gpu: string; host: string }[] = [
  { by: "name", gpu: "kernel", host: "operator" },
  { by: "kind", gpu: "kind", host: "kind" },
  { by: "op", gpu: "operator", host: "" },
];

/** Rows beyond this are added on demand: a page of thousands of rows is slow and read by nobody. */
const PAGE = 200;

export const kernels: Panel = {
  id: "kernels",
  label: "Kernels",
  build(host, table: Table<Info>, context) {
    new KernelTable(host, table, context);
    return () => {};
  },
};

class KernelTable {
  readonly #context: Context;
  readonly #first: Table<Info>;
  readonly #where: "gpu" | "host";
  readonly #body = h("tbody", { onkeydown: (event: KeyboardEvent) => this.#key(event) });
  readonly #head = h("tr", {});
  readonly #status = h("span", { class: "pk-status", role: "status" });
  readonly #more = h("button", { class: "pk-button", type: "button", onclick: () => this.#showMore() });
  readonly #scroll: HTMLElement;
  #rows: Row[];
  #sort: { key: Key; ascending: boolean } = { key: "total_ns", ascending: false };
  #needle = "";
  #limit = PAGE;
  #by: By; // asked for
  #shown: By;

  constructor(host: HTMLElement, table: Table<Info>, context: Context) {
    this.#context = context;
    this.#first = table;
    this.#where = table.info.where;
    this.#by = this.#shown = table.info.by;
    this.#rows = rowsOf(table);
    this.#scroll = h(
      "div",
      { class: "pk-scroll", role: "region", "aria-label": "Kernels", tabindex: 0 },
      h("table", { class: "pk-table pk-kernels" }, h("thead", {}, this.#head), this.#body),
      this.#more,
    );
    host.append(h("div", { class: "pk-toolbar" }, this.#groupings(), this.#filter(), this.#status), this.#scroll);
    this.#draw();
  }

  #groupings(): HTMLElement {
    const choices = GROUPINGS.filter((grouping) => grouping[this.#where]);
    const buttons = choices.map((grouping) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(grouping.by === this.#by),
          onclick: (event: MouseEvent) => void this.#group(grouping.by, event.currentTarget as HTMLElement),
        },
        `By ${grouping[this.#where]}`,
      ),
    );
    return h("div", { class: "pk-segments", role: "group", "aria-label": "One row per" }, ...buttons);
  }

  async #group(by: By, button: HTMLElement): Promise<void> {
    this.#by = by;
    for (const other of button.parentElement?.children ?? []) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    try {
      const first = by === this.#first.info.by;
      const table = first ? this.#first : ((await this.#context.link.get("kernels", { by })) as Table<Info>);
      if (by !== this.#by) return; // another one was asked for meanwhile
      this.#rows = rowsOf(table);
      this.#shown = by;
      this.#limit = PAGE;
      this.#draw();
    } catch (error) {
      if (by === this.#by) refuse(this.#clear(), error, () => void this.#group(by, button));
    }
  }

  /** Empties the table; the result is the place for a message. */
  #clear(): HTMLElement {
    const cell = h("td", { colspan: COLUMNS.length });
    this.#body.replaceChildren(h("tr", { class: "pk-empty" }, cell));
    this.#more.hidden = true;
    this.#status.textContent = "";
    return cell;
  }

  #filter(): HTMLElement {
    return h("input", {
      class: "pk-filter",
      type: "search",
      placeholder: "Filter by name or kind",
      "aria-label": "Filter by name or kind",
      oninput: (event: Event) => {
        this.#needle = (event.target as HTMLInputElement).value.trim().toLowerCase();
        this.#limit = PAGE;
        this.#draw();
      },
    });
  }

  #showMore(): void {
    const first = this.#limit;
    this.#limit = Infinity;
    this.#draw();
    (this.#body.children[first] as HTMLElement | undefined)?.focus();
  }

  #draw(): void {
    const found = this.#rows.filter(
      ({ name, kind }) => name.toLowerCase().includes(this.#needle) || kind.includes(this.#needle),
    );
    found.sort((a, b) => compare(a, b, this.#sort.key) * (this.#sort.ascending ? 1 : -1));
    const longest = found.reduce((most, row) => Math.max(most, row.numbers.share ?? 0), 1e-9);
    this.#drawHead();
    if (found.length) this.#body.replaceChildren(...found.slice(0, this.#limit).map((row) => this.#row(row, longest)));
    else notice(this.#clear(), this.#rows.length ? "No name or kind contains that." : "No work was recorded.");
    const first = this.#body.firstElementChild as HTMLElement | null;
    if (first && found.length) first.tabIndex = 0;
    this.#more.hidden = found.length <= this.#limit;
    this.#more.textContent = `Show all ${count(found.length)}`;
    this.#status.textContent = this.#count(found);
  }

  #count(found: readonly Row[]): string {
    const noun = GROUPINGS.find(({ by }) => by === this.#shown)?.[this.#where] ?? "row";
    const all = plural(this.#rows.length, noun);
    if (found.length === this.#rows.length) return all;
    const part = found.reduce((sum, row) => sum + (row.numbers.share ?? 0), 0);
    return `${count(found.length)} of ${all}, ${share(part)} of the time`;
  }

  #drawHead(): void {
    const cells = COLUMNS.map(({ key, label, show, class: style }) => {
      const sorted = key === this.#sort.key ? (this.#sort.ascending ? "ascending" : "descending") : "none";
      const sort = () => {
        const ascending = key === this.#sort.key ? !this.#sort.ascending : !show; // numbers: largest first
        this.#sort = { key, ascending };
        this.#draw();
        this.#head.querySelector<HTMLElement>(`[data-key="${key}"]`)?.focus();
      };
      return h(
        "th",
        { scope: "col", class: style, "aria-sort": sorted },
        h("button", { type: "button", "data-key": key, onclick: sort }, label),
      );
    });
    this.#head.replaceChildren(...cells);
  }

  #row(row: Row, longest: number): HTMLElement {
    const color = `--pk-work-${row.kind}`;
    const cells = COLUMNS.map(({ key, show, class: style }) => {
      if (key === "kind") return h("td", { title: row.kind }, swatch(color), h("span", {}, row.kind));
      if (key === "name") return h("th", { scope: "row", "aria-label": row.short }, nameOf(row.short));
      const text = show?.(row.numbers[key]) ?? "";
      if (key !== "share") return h("td", { class: style }, text);
      const part = (row.numbers.share ?? 0) / longest;
      return h(
        "td",
        { class: style },
        h(
          "div",
          {},
          h("div", {}, h("i", { class: "pk-share", "--pk-color": `var(${color})`, "--pk-part": part, "aria-hidden": "true" })),
          h("span", {}, text),
        ),
      );
    });
    const element = h(
      "tr",
      { tabindex: -1, "aria-expanded": "false", title: row.name, onclick: () => toggle(element, row.name) },
      ...cells,
    );
    return element;
  }

  /** Arrows move between rows, Enter opens one: the table is one tab stop. */
  #key(event: KeyboardEvent): void {
    const row = (event.target as HTMLElement).closest("tr");
    if (!row || row.tabIndex === undefined) return;
    const rows = [...this.#body.querySelectorAll<HTMLElement>("tr[aria-expanded]")];
    const at = rows.indexOf(row);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") row.click();
    else if (to === undefined) return;
    else {
      const next = rows[Math.min(Math.max(to, 0), rows.length - 1)];
      row.tabIndex = -1;
      if (next) next.tabIndex = 0;
      next?.focus();
    }
    event.preventDefault();
  }
}

/** Open or close the whole name under a row. */
function toggle(row: HTMLElement, name: string): void {
  if (getSelection()?.toString()) return; // the click ended a selection of text
  const open = row.getAttribute("aria-expanded") === "true";
  row.setAttribute("aria-expanded", String(!open));
  if (open) row.nextElementSibling?.remove();
  else row.after(h("tr", { class: "pk-detail" }, h("td", { colspan: COLUMNS.length }, h("bdi", {}, name))));
}

function rowsOf(table: Table<Info>): Row[] {
  const short = table.text("short");
  const kinds = table.text("kind");
  const numbers = COLUMNS.filter((column) => column.show).map(({ key }) => ({ key, values: table.numbers(key) }));
  return table.text("name").map((name, i) => ({
    name,
    short: short[i] ?? name,
    kind: kinds[i] ?? "",
    numbers: Object.fromEntries(numbers.map(({ key, values }) => [key, values[i] ?? null])),
  }));
}

function compare(a: Row, b: Row, key: Key): number {
  if (key === "name") return a.short.localeCompare(b.short) || a.name.localeCompare(b.name);
  if (key === "kind") return a.kind.localeCompare(b.kind) || compare(b, a, "total_ns");
  return (a.numbers[key] ?? 0) - (b.numbers[key] ?? 0);
}
