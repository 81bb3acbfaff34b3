// What a range of time went to: each GPU's busy and idle time, and its work by kind and by name.
import { bar, legend, type Slice, swatch } from "../bars";
import { h, name as nameOf } from "../dom";
import { count, duration, share } from "../format";
import { endOf, type Model, type Names, open, type Row } from "./model";
import type { Tiles } from "./tiles";

export interface Total {
  device: number; // -1: the host, where no GPU has any work
  window: number; // ns of the range inside the record
  idle: Float64Array; // ns by class
  work: Float64Array; // ns by class, over all streams
  names: Float64Array; // ns by name
  counts: Int32Array; // by name
}

const TOP = 8;

/** Totals of a range, once all its tiles are here; null: `alive` said that nobody waits any more. */
export async function totalsOf(
  model: Model,
  tiles: Tiles,
  names: Names,
  [from, to]: readonly [number, number],
  alive: () => boolean,
): Promise<Total[] | null> {
  const { classes, wall_ns } = model.info;
  const devices = [...new Set(model.rows.map((row) => row.device))].filter((device) => device >= 0);
  const totals = (devices.length ? devices : [-1]).map((device) => ({
    device,
    window: Math.max(Math.min(to, wall_ns) - Math.max(from, 0), 0),
    idle: new Float64Array(classes.length),
    work: new Float64Array(classes.length),
    names: new Float64Array(names.full.length),
    counts: new Int32Array(names.full.length),
  }));
  for (const row of model.rows) {
    const total = totals.find(({ device }) => device === row.device);
    if (!total || !counts(row, model)) continue;
    const sums = row.kind === "gaps" ? total.idle : total.work;
    for (const index of tiles.between(row, from, to)) {
      const tile = tiles.get(index) ?? (await tiles.load(index));
      if (!alive()) return null;
      for (let at = open(tile, from); at < tile.start.length && (tile.start[at] as number) < to; at++) {
        const start = tile.start[at] as number;
        const end = endOf(tile, at);
        if (end <= from && start < from) continue; // it ends where the range begins
        const inside = Math.min(end, to) - Math.max(start, from);
        const kind = tile.kind[at] as number;
        sums[kind] = (sums[kind] as number) + inside;
        if (row.kind === "gaps") continue;
        const name = tile.name[at] as number;
        total.names[name] = (total.names[name] as number) + inside;
        total.counts[name] = (total.counts[name] as number) + 1;
      }
    }
  }
  return totals;
}

/** On the host, operators inside others are in their time already. */
function counts(row: Row, { groups }: Model): boolean {
  if (row.device >= 0) return row.kind === "gaps" || row.kind === "gpu";
  return row.kind === "host" && groups.some(({ rows }) => rows[0] === row);
}

export function sum(values: Float64Array): number {
  return values.reduce((all, ns) => all + ns, 0);
}

export function showTotals(total: Total, model: Model, names: Names): HTMLElement {
  const { classes, class_labels: labels } = model.info;
  const slices = (values: Float64Array, whole: number): Slice[] =>
    [...values]
      .map((ns, kind): Slice => {
        const [group, name] = classes[kind] as [string, string];
        return { label: labels[kind] ?? name, color: `--pk-${group}-${name}`, ns, share: ns / (whole || 1), idle: group === "idle" };
      })
      .filter(({ ns }) => ns > 0)
      .sort((a, b) => b.ns - a.ns);
  const busy = total.window - sum(total.idle);
  const work = sum(total.work);
  const parts: Slice[] = [
    { label: "GPU busy", color: "--pk-side-gpu", ns: busy, share: busy / (total.window || 1) },
    ...slices(total.idle, total.window),
  ];
  const kinds = slices(total.work, work);
  const left =
    total.device < 0
      ? []
      : [h("section", {}, h("h4", {}, `GPU ${total.device}: busy and idle`), bar(parts, "Busy and idle time in the range"), legend(parts))];
  const title = total.device < 0 ? "Host, outermost operators" : `GPU ${total.device}: work, all streams`;
  const right = work > 0 ? [h("section", {}, h("h4", {}, title), bar(kinds, "Work in the range by kind"), legend(kinds))] : [];
  return h("div", {}, h("div", { class: "pk-columns" }, ...left, ...right), work > 0 && byName(total, model, names, work));
}

function byName(total: Total, { info: { classes } }: Model, names: Names, work: number): HTMLElement {
  const order = [...total.names.keys()].filter((name) => total.counts[name]).sort((a, b) => (total.names[b] ?? 0) - (total.names[a] ?? 0));
  const longest = total.names[order[0] ?? 0] || 1;
  const rows = order.slice(0, TOP).map((name) => {
    const [group, kind] = classes[names.kind[name] ?? 0] ?? ["work", "other"];
    const ns = total.names[name] ?? 0;
    return h(
      "tr",
      {},
      h("th", { scope: "row", title: names.full[name] }, h("div", {}, swatch(`--pk-${group}-${kind}`), nameOf(names.short[name] ?? ""))),
      h("td", {}, h("i", { class: "pk-share", "--pk-color": `var(--pk-${group}-${kind})`, "--pk-part": ns / longest })),
      h("td", { class: "pk-number" }, `${count(total.counts[name])} ×`),
      h("td", { class: "pk-number" }, duration(ns)),
      h("td", { class: "pk-number" }, share(ns / work)),
    );
  });
  const more = order.length - rows.length;
  return h(
    "section",
    {},
    h("h4", {}, "By name"),
    h("table", { class: "pk-table pk-top" }, h("tbody", {}, ...rows)),
    more > 0 && h("p", { class: "pk-hint" }, `and ${count(more)} more`),
  );
}
