// Steps: each forward of the model, how far it is from the token before, and where its time went.
import { bar, legend as sliceLegend, type Slice } from "./bars";
import { Curve, type Line } from "./curve";
import { h } from "./dom";
import { count, duration, plural } from "./format";
import type { Mark, Span } from "./ink";
import { legend } from "./legend";
import { notice, type Panel, type Selection } from "./panel";
import type { Table } from "./protocol";

interface Spread {
  samples: number;
  p50_ns: number | null;
}
interface Info {
  stats: { token_gap: Spread | null } | null;
  reason: string | null;
  causes: Record<string, string>; // cause of idle time: what it is called
}

const LINES = [
  { column: "token_gap", label: "token gap", color: "--pk-metric-sm_active_percent" },
  { column: "host_duration", label: "host in forward", color: "--pk-metric-dram_active_percent" },
  { column: "device_duration", label: "GPU span in forward", color: "--pk-metric-sm_occupancy_percent" },
  { column: "busy_ns", label: "GPU busy", color: "--pk-metric-tensor_active_percent" },
] as const;

export const steps: Panel = {
  id: "steps",
  label: "Steps",
  build(host, table: Table<Info>, context) {
    if (!table.rows) {
      notice(host, `No forward pass of a model was seen in this cell${table.info.reason ? `: ${table.info.reason}` : ""}.`);
      return () => {};
    }
    const lines = linesOf(table);
    const detail = h("div", { class: "pk-step" });
    const select = (row: number | null) => {
      const selection = row === null ? null : selectionOf(table, row);
      context.selection.value = selection;
      context.link.select(row);
    };
    const read = (row: number | null) => {
      position.textContent = row === null ? "" : `step ${count(row)} · ${table.text("phase")[row]}`;
      key.read(lines.map((line) => (row === null ? "" : duration(line.values[row]))));
    };
    const marks = marksOf(table.info);
    const curve = new Curve(
      {
        name: `Times of ${plural(table.rows, "step")}. Arrow keys move along them, Enter selects one.`,
        height: 264,
        unit: "ns",
        x: { values: Array.from({ length: table.rows }, (_, i) => i), unit: "step", whole: true },
        lines,
        fromZero: true,
        ...(marks.length ? { marks } : {}),
        spans: prefills(table),
        snap: true,
        describe: (row) => `step ${row}, ${lines.map((l) => `${l.label} ${duration(l.values[row])}`).join(", ")}`,
        onHover: (row) => read(row ?? context.selection.value?.row ?? null),
        onPick: (row) => select(row === context.selection.value?.row ? null : row),
      },
      context.theme,
    );
    const key = legend(lines, (line, shown) => curve.show(line, shown));
    const position = h("span", { class: "pk-status" });
    const log = h("button", { class: "pk-toggle", type: "button", "aria-pressed": "false", onclick: () => toggleLog(log, curve) }, "Log scale");
    const show = (selection: Selection | null) => {
      curve.select(selection?.row ?? null);
      read(selection?.row ?? null);
      describeStep(detail, table, selection?.row ?? null, () => select(null));
    };
    host.append(h("div", { class: "pk-toolbar" }, key.el, position, log), curve.el, detail);
    const stop = context.selection.subscribe(show);
    show(context.selection.value);
    return () => {
      stop();
      curve.dispose();
    };
  },
};

function toggleLog(button: HTMLElement, curve: Curve): void {
  const log = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(log));
  curve.setLog(log);
}

function linesOf(table: Table<Info>): Line[] {
  return LINES.filter(({ column }) => table.has(column))
    .map(({ column, ...line }) => ({ ...line, values: table.numbers(column) }))
    .filter((line) => line.values.some((value) => value !== null));
}

function marksOf({ stats }: Info): Mark[] {
  const gap = stats?.token_gap;
  if (!gap?.p50_ns) return [];
  const label = [`p50 ${duration(gap.p50_ns)}`, `n = ${count(gap.samples)}`];
  return [{ y: gap.p50_ns, label, color: "--pk-metric-sm_active_percent", dash: [4, 4] }];
}

/** Steps that read a prompt are shaded; a run of them is one span. */
function prefills(table: Table<Info>): Span[] {
  const phase = table.text("phase");
  const spans: Span[] = [];
  for (let row = 0; row < phase.length; row++) {
    if (phase[row] !== "prefill") continue;
    let last = row;
    while (phase[last + 1] === "prefill") last++;
    spans.push({ from: row - 0.5, to: last + 0.5, label: "prefill" });
    row = last;
  }
  return spans;
}

function selectionOf(table: Table<Info>, row: number): Selection {
  return { row, from: table.since("start", 0n)[row] ?? 0, to: table.since("end", 0n)[row] ?? 0 };
}

/** The selected step: what it did, and the GPU's time in it by cause. */
function describeStep(host: HTMLElement, table: Table<Info>, row: number | null, clear: () => void): void {
  if (row === null) {
    host.replaceChildren(h("p", { class: "pk-hint" }, "Click a step to see where its time went. Drag to zoom, double-click to zoom out."));
    return;
  }
  const at = (name: string) => table.numbers(name)[row] ?? null;
  const facts = [
    `batch ${count(at("batch"))}`,
    `${plural(at("query_tokens") ?? 0, "new token")} per sequence`,
    `${count(at("context_tokens"))} in the cache`,
    `starts at ${duration(at("start"))}`,
  ];
  const slices = slicesOf(table, row);
  host.replaceChildren(
    h(
      "h4",
      {},
      h("span", {}, `Step ${count(row)}`),
      h("span", { class: "pk-facts" }, facts.join(" · ")),
      h("button", { class: "pk-link", type: "button", onclick: clear }, "Clear"),
    ),
    ...(slices.length ? [bar(slices, "The GPU's time in this step"), sliceLegend(slices)] : []),
  );
}

function slicesOf(table: Table<Info>, row: number): Slice[] {
  if (!table.has("busy_ns")) return [];
  const parts = [
    { label: "GPU busy", color: "--pk-work-matmul", ns: table.numbers("busy_ns")[row] ?? 0, idle: false },
    ...Object.entries(table.info.causes)
      .filter(([cause]) => table.has(`${cause}_ns`))
      .map(([cause, label]) => ({ label, color: `--pk-idle-${cause}`, ns: table.numbers(`${cause}_ns`)[row] ?? 0, idle: true })),
  ];
  const whole = parts.reduce((sum, part) => sum + part.ns, 0);
  return parts.filter((part) => part.ns > 0).map((part) => ({ ...part, share: part.ns / whole }));
}
