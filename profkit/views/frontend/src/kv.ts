// KV cache: what it holds after each step, against the memory held for it and the GPU's.
import { Curve, type Line } from "./curve";
import { h, uniqueId } from "./dom";
import { count, quantity } from "./format";
import type { Mark, Span } from "./ink";
import { legend } from "./legend";
import { notice, type Panel } from "./panel";
import type { Table } from "./protocol";

interface Info {
  lines: string[]; // what the numbers say
  kinds: { column: string; label: string; color: string }[];
  peak: Limit | null;
  memory: Limit | null; // of the GPU
  reason: string | null;
}

interface Limit {
  bytes: number;
  label: string;
}

const HELD = [
  { column: "storage_bytes", label: "held", color: "--pk-page-text" },
  { column: "capacity_bytes", label: "room for", color: "--pk-page-faint" },
];
const GPU = [
  { column: "allocated", label: "allocated", color: "--pk-side-gpu" },
  { column: "reserved", label: "reserved", color: "--pk-side-host" },
];

export const kv: Panel = {
  id: "kv",
  label: "KV cache",
  build(host, table: Table<Info>, context) {
    const { lines: words, kinds, peak, memory, reason } = table.info;
    if (!table.rows) {
      notice(host, `No KV cache was read in this cell${reason ? `: ${reason}` : "."}`);
      return () => {};
    }
    const steps = table.numbers("step");
    const sync = uniqueId();
    const plot = (name: string, height: number, lines: Line[], marks: Mark[] = []) => {
      const at = (i: number) => lines.map((line) => quantity(line.values[i] ?? null, "bytes"));
      const curve = new Curve(
        {
          name: `${name} after each step. Arrow keys move along them.`,
          height,
          unit: "bytes",
          x: { values: steps.map((_, i) => i), unit: "step", whole: true },
          lines,
          marks,
          spans: prefills(table),
          fromZero: true,
          sync,
          snap: true,
          describe: (i) => lines.map((line, j) => `${line.label} ${at(i)[j]}`).join(", "),
          onHover: (i) => {
            key.read(i === null ? [] : at(i));
            if (i !== null) position.textContent = positionOf(table, i);
          },
        },
        context.theme,
      );
      const key = legend(lines, (line, shown) => curve.show(line, shown));
      host.append(h("div", { class: "pk-toolbar" }, key.el), curve.el);
      return curve;
    };
    const position = h("span", { class: "pk-status" });
    host.append(h("ul", { class: "pk-words" }, ...words.map((line) => h("li", {}, line))), position);
    const curves = [plot("KV cache", 240, linesOf(table, [...kinds, ...HELD]), markOf("peak", peak, "--pk-page-faint"))];
    const gpu = linesOf(table, GPU);
    if (gpu.length) curves.push(plot("The GPU's memory", 180, gpu, markOf("memory", memory, "--pk-page-error")));
    const stop = context.selection.subscribe((selection) => {
      const at = selection ? steps.indexOf(selection.row) : -1;
      for (const curve of curves) curve.select(at < 0 ? null : at);
    });
    return () => {
      stop();
      for (const curve of curves) curve.dispose();
    };
  },
};

function markOf(name: string, limit: Limit | null, color: string): Mark[] {
  return limit ? [{ y: limit.bytes, label: [name, limit.label], color, dash: [4, 4] }] : [];
}

function linesOf(table: Table<Info>, wanted: readonly { column: string; label: string; color: string }[]): Line[] {
  return wanted
    .map(({ column, ...line }) => ({ ...line, values: table.has(column) ? table.numbers(column) : [] }))
    .filter((line) => line.values.some((value) => value !== null));
}

function positionOf(table: Table<Info>, at: number): string {
  const [step, tokens, sequences] = ["step", "tokens", "sequences"].map((name) => table.numbers(name)[at] ?? null);
  return `${step === null || step === undefined || step < 0 ? "call" : `step ${count(step)}`} · ${count(sequences ?? null)} sequences · ${count(tokens ?? null)} tokens`;
}

/** Readings after a prompt was read are shaded. */
function prefills(table: Table<Info>): Span[] {
  const phase = table.text("phase");
  return phase.flatMap((name, at) => (name === "prefill" ? [{ from: at - 0.5, to: at + 0.5, label: phase[at - 1] === name ? "" : "prefill" }] : []));
}
