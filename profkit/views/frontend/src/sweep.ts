// A sweep: curves along batch with SLOs that sliders move, the Pareto front, and the table behind both.
import { swatch } from "./bars";
import { Curve, type Line } from "./curve";
import { h, uniqueId } from "./dom";
import { duration, share, tick } from "./format";
import type { Mark } from "./ink";
import { legend } from "./legend";
import { notice, type Panel } from "./panel";
import type { Table } from "./protocol";

interface Info {
  axis: string;
  series: string[];
  titles: Record<string, string>; // of the plot of a phase's times; "rate": of tokens/s; "pareto"
  throughput: string; // the phase whose tokens/s are drawn
  slos: Record<string, { phase: string; ns: number | null }>;
  notes: string[];
  reason: string; // why there is nothing to draw
}

const TEXTS = ["phase", "status", "words"] as const;
const PLACES = ["series", "x"] as const; // never absent
const NUMBERS = ["median_ns", "p10_ns", "p90_ns", "tokens_per_s", "floor_ns", "knee"] as const;

/** One point in one phase, by the columns of the reply; a point without times has one row, of phase "". */
type Row = Record<(typeof TEXTS)[number], string> & Record<(typeof PLACES)[number], number> & Record<(typeof NUMBERS)[number], number | null>;

const COLORS = 6; // --pk-series-0 …
const STEPS = 400; // of a slider
const LOG_FROM = 12; // largest / smallest value from which an axis is logarithmic

const color = (series: number) => `--pk-series-${series % COLORS}`;

const curves: Panel = {
  id: "curves",
  label: "Curves",
  build(host, table: Table<Info>, context) {
    const { info } = table;
    const rows = rowsOf(table);
    const xs = [...new Set(rows.map((row) => row.x))].sort((a, b) => a - b);
    if (info.reason) {
      notice(host, info.reason);
      return () => {};
    }
    const sync = uniqueId();
    const lost = new Map(rows.flatMap(({ phase, x, status }) => (phase ? [] : [[x, { from: x, to: x, label: status }]])));
    const says = h("p", { class: "pk-sentence", role: "status" });
    const detail = h("section", {});
    const read = (index: number | null) => {
      if (index !== null) detail.replaceChildren(...reading(rows.filter((row) => row.words && row.x === xs[index]), info));
    };
    const plot = (id: string) => {
      const time = id !== "rate";
      const phase = time ? id : info.throughput;
      const title = info.titles[id] ?? "";
      const lines = linesOf(rows, xs, info, phase, time);
      const known = lines.flatMap((line) => line.values.filter((value) => value !== null));
      const curve = new Curve(
        {
          name: title,
          height: 230,
          unit: time ? "ns" : "",
          x: { values: xs, unit: info.axis, log: (xs[0] ?? 0) > 0 && (xs.at(-1) ?? 0) >= 4 * (xs[0] ?? 0) },
          lines,
          spans: [...lost.values()],
          marks: [],
          fromZero: true,
          log: Math.max(...known) >= LOG_FROM * Math.min(...known),
          sync,
          snap: true,
          describe: () => detail.innerText,
          onHover: read,
        },
        context.theme,
      );
      return { curve, phase: time ? phase : "", el: h("section", {}, h("h4", {}, title), curve.el) };
    };
    const plots = Object.keys(info.titles).map(plot);
    const key = legend(
      info.series.map((label, i) => ({ label, color: color(i) })),
      (series, shown) => plots.forEach(({ curve }) => [0, 1].forEach((line) => curve.show(2 * series + line, shown))),
    );
    const limits = new Map<string, number>();
    const set = (name: string, ns: number | null) => {
      if (ns === null) limits.delete(name);
      else limits.set(name, ns);
      says.textContent = limits.size ? verdict(rows, info, limits) : "Move a slider to set an SLO.";
      for (const { curve, phase } of plots) curve.setMarks(marksOf(info, limits, phase));
    };
    const sliders = Object.entries(info.slos).map(([name, { phase, ns }]) =>
      slider(name, ns, rows.flatMap((row) => (row.phase === phase && row.median_ns ? [row.median_ns] : [])), set),
    );
    host.append(
      h("div", { class: "pk-toolbar" }, key.el, ...sliders),
      says,
      h("div", { class: "pk-columns pk-plots" }, ...plots.map(({ el }) => el), detail),
      ...info.notes.map((note) => h("p", { class: "pk-hint" }, note)),
    );
    read(0);
    return () => plots.forEach(({ curve }) => curve.dispose());
  },
};

const pareto: Panel = {
  id: "pareto",
  label: "Pareto",
  build(host, table: Table<Info>, context) {
    const { info } = table;
    if (info.reason) {
      notice(host, info.reason);
      return () => {};
    }
    const series = table.numbers("series");
    const times = table.numbers("median_ns");
    const rates = table.numbers("tokens_per_s");
    const front = table.numbers("front");
    const column = (wanted: (i: number) => boolean) => rates.map((rate, i) => (wanted(i) ? rate : null));
    const lines: Line[] = [
      { label: "Pareto front", color: "--pk-muted", values: column((i) => front[i] === 1), connect: true, dashed: true },
      ...info.series.map((label, at): Line => ({ label, color: color(at), values: column((i) => series[i] === at), shape: "points" })),
    ];
    const last = times.at(-1) ?? 0;
    const slo = Object.values(info.slos).find(({ phase, ns }) => phase === info.throughput && ns)?.ns;
    const detail = h("p", { class: "pk-read" }, info.notes[0]);
    const say = (index: number) => `${table.text("words")[index]}${front[index] ? "; on the front" : ""}`;
    const curve = new Curve(
      {
        name: info.titles["pareto"] ?? "",
        height: 360,
        unit: "",
        x: { values: times, unit: "ns", range: [0, last * 1.05] },
        lines,
        spans: slo ? [{ from: slo, to: last * 2 + slo, label: `beyond the SLO, ${duration(slo)}` }] : [],
        log: true,
        snap: true,
        describe: say,
        onHover: (index) => index !== null && (detail.textContent = say(index)),
      },
      context.theme,
    );
    const key = legend(lines, (line, shown) => curve.show(line, shown));
    host.append(h("div", { class: "pk-toolbar" }, key.el), h("h4", {}, info.titles["pareto"]), curve.el, detail);
    return () => curve.dispose();
  },
};

const points: Panel = {
  id: "points",
  label: "Table",
  build(host, table: Table<{ heads: string[]; left: string[] }>) {
    const { heads, left } = table.info;
    const side = (head: string) => ({ class: left.includes(head) ? null : "pk-number" });
    const columns = heads.map((head) => table.text(head));
    const rows = Array.from({ length: table.rows }, (_, i) => h("tr", {}, ...heads.map((head, at) => h("td", side(head), columns[at]?.[i]))));
    host.append(
      h(
        "div",
        { class: "pk-scroll pk-first", tabindex: 0 },
        h("table", { class: "pk-table pk-points" }, h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", side(head), head)))), h("tbody", {}, ...rows)),
      ),
    );
    return () => {};
  },
};

export const sweep: readonly Panel[] = [curves, pareto, points];

function rowsOf(table: Table<Info>): Row[] {
  const columns = [...TEXTS.map((name) => [name, table.text(name)] as const), ...[...PLACES, ...NUMBERS].map((name) => [name, table.numbers(name)] as const)];
  return Array.from({ length: table.rows }, (_, i) => Object.fromEntries(columns.map(([name, values]) => [name, values[i]])) as Row);
}

/** Two lines for each series: what was measured, and its floor. */
function linesOf(rows: readonly Row[], xs: readonly number[], info: Info, phase: string, time: boolean): Line[] {
  return info.series.flatMap((label, series): Line[] => {
    const at = xs.map((x) => rows.find((row) => row.series === series && row.phase === phase && row.x === x));
    const column = (read: (row: Row) => number | null) => at.map((row) => (row ? read(row) : null));
    const common = { label, color: color(series), connect: true };
    const rings = at.flatMap((row, i) => (row?.knee ? [i] : []));
    const band = { low: column((row) => row.p10_ns), high: column((row) => row.p90_ns) };
    // A step at its floor would give so many tokens more as it is faster.
    const floor = (row: Row) => (time || !row.floor_ns ? row.floor_ns : ((row.tokens_per_s ?? NaN) * (row.median_ns ?? NaN)) / row.floor_ns);
    return [
      { ...common, rings, values: column((row) => (time ? row.median_ns : row.tokens_per_s)), ...(time ? { band } : {}) },
      { ...common, values: column(floor), dashed: true },
    ];
  });
}

/** The points at one x in words, one for each series. */
function reading(here: readonly Row[], info: Info): HTMLElement[] {
  const line = ({ series, words }: Row) => h("p", { class: "pk-read" }, swatch(color(series)), h("strong", {}, info.series[series]), ` ${words}`);
  return [h("h4", {}, `At ${info.axis} ${tick(here[0]?.x ?? 0)}`), ...here.map(line)];
}

/** A range input over times, logarithmic; its right end is no limit. */
function slider(name: string, ns: number | null, medians: readonly number[], set: (name: string, ns: number | null) => void): HTMLElement {
  const from = Math.min(...medians) / 2;
  const span = Math.log((2 * Math.max(...medians, ns ?? 0)) / from);
  const said = h("output", {});
  const show = (limit: number | null) => {
    said.textContent = limit === null ? "no limit" : `≤ ${duration(limit)}`;
    input.setAttribute("aria-valuetext", said.textContent);
    set(name, limit);
  };
  const input = h("input", {
    type: "range",
    min: 0,
    max: STEPS,
    value: ns === null ? STEPS : Math.round((STEPS * Math.log(ns / from)) / span),
    "aria-label": `SLO ${name}`,
    oninput: () => show(Number(input.value) < STEPS ? from * Math.exp((span * Number(input.value)) / STEPS) : null),
  });
  show(ns); // as it was given, not as the slider's step rounds it
  return h("label", { class: "pk-slo" }, name, input, said);
}

/** In each series the largest x whose medians meet every limit; where none does, by how much the best misses. */
function verdict(rows: readonly Row[], info: Info, limits: ReadonlyMap<string, number>): string {
  const parts = info.series.map((label, series) => {
    const own = rows.filter((row) => row.series === series);
    const judged = [...new Set(own.map((row) => row.x))].map((x) => {
      const ratios = [...limits].map(([name, limit]) => {
        const row = own.find((row) => row.x === x && row.phase === info.slos[name]?.phase);
        return { x, name, ratio: (row?.median_ns ?? Infinity) / limit };
      });
      return ratios.reduce((worst, one) => (one.ratio > worst.ratio ? one : worst));
    });
    const met = judged.filter(({ ratio }) => ratio <= 1).map(({ x }) => x);
    const best = judged.reduce((least, one) => (one.ratio < least.ratio ? one : least));
    const miss = best.ratio < Infinity ? `, ${info.axis} ${tick(best.x)} misses ${best.name} by ${share(best.ratio - 1)}` : "";
    return `${met.length ? tick(Math.max(...met)) : `none${miss}`}${info.series.length > 1 ? ` (${label})` : ""}`;
  });
  return `Largest ${info.axis} within ${[...limits].map(([name, ns]) => `${name} ≤ ${duration(ns)}`).join(", ")}: ${parts.join("; ")}.`;
}

function marksOf(info: Info, limits: ReadonlyMap<string, number>, phase: string): Mark[] {
  return [...limits]
    .filter(([name]) => info.slos[name]?.phase === phase)
    .map(([name, y]) => ({ y, label: [`SLO ${name}`, duration(y)], color: "--pk-page-error", dash: [2, 3] }));
}
