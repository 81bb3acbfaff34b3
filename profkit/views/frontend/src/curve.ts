// One plot of curves over one axis: a thin coat over uPlot that draws what our plots have in common:
// bands, reference lines (floor, SLO, median), shaded spans, a selection, hover by mouse and by keyboard.
import uPlot from "uplot";
import { axisUnit, tick, type Unit } from "./format";
import { drawMarks, drawSelection, drawSpans, type Ink, type Mark, type Span } from "./ink";
import type { Theme } from "./theme";

export type Numbers = readonly (number | null)[];

export interface Line {
  label: string;
  color: string; // a CSS variable of the view
  values: Numbers;
  shape?: "line" | "points" | "steps"; // steps: a value holds for the time up to it
  fill?: boolean; // down to the axis
  connect?: boolean; // draw on over absent values
  band?: { low: Numbers; high: Numbers };
  hidden?: boolean;
}

export interface CurveOptions {
  name: string; // said to those who do not see it
  height: number;
  x: {
    values: Numbers;
    unit: string;
    range?: readonly [number, number];
    log?: boolean; // of base 2: batch sizes, context lengths
    whole?: boolean; // counts things: a tick for each of some, no grid
    axis?: boolean;
  };
  unit: string; // of y: "ns", "bytes", "%", "W", ...
  lines: readonly Line[];
  marks?: readonly Mark[];
  spans?: readonly Span[]; // given, if only empty, room is kept for their names
  log?: boolean;
  fromZero?: boolean;
  sync?: string; // plots with one key share their cursor
  snap?: boolean; // the cursor stands on points only
  describe?(index: number): string; // a point in words
  onHover?(index: number | null): void;
  onPick?(index: number): void;
  onZoom?(range: readonly [number, number] | null): void;
}

const AXIS_WIDTH = 66;
const MARK_WIDTH = 84; // room for the names of reference lines, at the right
const AXIS_HEIGHT = 26;
const SPAN_HEIGHT = 20; // room for the names of spans, at the top
const CLICK_PX = 4; // a press that moves further is a drag
const NICE = [1, 2, 5].flatMap((n) => [0, 1, 2, 3, 4, 5, 6].map((e) => n * 10 ** e)).sort((a, b) => a - b);

export class Curve {
  readonly el: HTMLElement;
  readonly #options: CurveOptions;
  readonly #theme: Theme;
  readonly #yUnit: Unit;
  readonly #xUnit: Unit;
  readonly #shown: boolean[];
  readonly #stops: (() => void)[] = [];
  #plot: uPlot | null = null;
  #log: boolean;
  #index: number | null = null;
  #selected: number | null = null;
  #spans: readonly Span[];
  #range: readonly [number, number] | null = null;
  #pressedAt = 0;

  constructor(options: CurveOptions, theme: Theme) {
    this.#options = options;
    this.#theme = theme;
    this.#log = options.log ?? false;
    this.#spans = options.spans ?? [];
    this.#shown = options.lines.map((line) => !line.hidden);
    this.#yUnit = axisUnit(largest(options.lines.map((line) => line.values)), options.unit);
    this.#xUnit = axisUnit(options.x.range?.[1] ?? largest([options.x.values]), options.x.unit);
    this.el = document.createElement("div");
    this.el.className = "pk-curve";
    this.el.style.height = `${options.height}px`;
    this.el.tabIndex = 0;
    this.el.setAttribute("role", "slider");
    this.el.setAttribute("aria-label", options.name);
    this.el.setAttribute("aria-valuemin", "0");
    this.el.setAttribute("aria-valuemax", String(Math.max(options.x.values.length - 1, 0)));
    this.el.setAttribute("aria-valuenow", "0");
    this.el.setAttribute("aria-valuetext", "");
    this.el.addEventListener("keydown", (event) => this.#key(event));
    const resize = new ResizeObserver(() => this.#fit());
    resize.observe(this.el);
    this.#stops.push(
      () => resize.disconnect(),
      theme.changed(() => this.#plot?.redraw(false)),
    );
  }

  dispose(): void {
    for (const stop of this.#stops) stop();
    this.#plot?.destroy();
  }

  setLog(log: boolean): void {
    this.#log = log;
    this.#rebuild();
  }

  show(line: number, shown: boolean): void {
    this.#shown[line] = shown;
    this.#rebuild();
  }

  select(index: number | null): void {
    this.#selected = index;
    this.#plot?.redraw(false);
  }

  setSpans(spans: readonly Span[]): void {
    this.#spans = spans;
    this.#plot?.redraw(false);
  }

  zoom(range: readonly [number, number] | null): void {
    this.#range = range;
    const [min, max] = this.#xRange();
    this.#plot?.setScale("x", { min, max });
  }

  // Elements that are hidden have no width: the plot is made when it is first seen.
  #fit(): void {
    const width = this.el.clientWidth;
    if (!width) return;
    if (this.#plot) this.#plot.setSize({ width, height: this.#options.height });
    else this.#rebuild();
  }

  #rebuild(): void {
    if (!this.el.clientWidth) return;
    this.#plot?.destroy();
    const { series, bands, data } = this.#series();
    this.#plot = new uPlot(
      {
        width: this.el.clientWidth,
        height: this.#options.height,
        padding: [this.#options.spans ? SPAN_HEIGHT : 10, this.#options.marks?.length ? MARK_WIDTH : 12, this.#options.x.axis === false ? 8 : 0, 0],
        legend: { show: false },
        scales: { x: this.#xScale(), y: this.#yScale() },
        axes: this.#axes(),
        series,
        bands,
        cursor: this.#cursor(),
        hooks: {
          drawClear: [(plot) => this.#drawUnder(plot)],
          draw: [(plot) => this.#drawOver(plot)],
          setCursor: [(plot) => this.#hover(plot.cursor.idx ?? null)],
          setSelect: [(plot) => this.#dragged(plot)],
        },
      },
      data,
      this.el,
    );
    this.#plot.over.addEventListener("mousedown", (event) => (this.#pressedAt = event.clientX));
    this.#plot.over.addEventListener("click", (event) => {
      if (Math.abs(event.clientX - this.#pressedAt) < CLICK_PX) this.#pick(this.#plot?.posToIdx(event.offsetX) ?? null);
    });
  }

  #series(): { series: uPlot.Series[]; bands: uPlot.Band[]; data: uPlot.AlignedData } {
    const series: uPlot.Series[] = [{}];
    const bands: uPlot.Band[] = [];
    const columns: (number | null)[][] = [];
    const add = (values: Numbers, style: uPlot.Series) => {
      columns.push(values.map((v) => (v === null || (this.#log && v <= 0) ? null : v / this.#yUnit.factor)));
      series.push(style);
      return series.length - 1;
    };
    this.#options.lines.forEach((line, i) => {
      const show = this.#shown[i] ?? true;
      const stroke = () => this.#theme.color(line.color);
      const faint = () => `color-mix(in srgb, ${stroke()} 16%, transparent)`;
      const style: uPlot.Series = { show, stroke, width: 1.5, spanGaps: line.connect ?? false, points: { size: 4, stroke, fill: stroke } };
      if (line.shape === "points") style.paths = () => null;
      if (line.shape === "steps" && uPlot.paths.stepped) style.paths = uPlot.paths.stepped({ align: -1 });
      if (line.fill) style.fill = faint;
      if (line.band) {
        const edge = { show, width: 0, points: { show: false } };
        bands.push({ series: [add(line.band.high, edge), add(line.band.low, edge)], fill: faint });
      }
      add(line.values, style);
    });
    const x = this.#options.x.values.map((v) => (v ?? 0) / this.#xUnit.factor);
    return { series, bands, data: [x, ...columns] };
  }

  #yScale(): uPlot.Scale {
    if (this.#log) return { distr: 3, range: (_, low, high) => logRange(low, high) };
    const marks = (this.#options.marks ?? []).map((mark) => mark.y / this.#yUnit.factor);
    return {
      range: (_, low, high) => {
        if (low === null || high === null) return [0, 1];
        const top = Math.max(high, ...marks);
        const bottom = this.#options.fromZero ? 0 : Math.min(low, ...marks);
        const room = (top - bottom || Math.abs(top) || 1) * 0.08;
        return [bottom === 0 ? 0 : Math.max(bottom - room, low >= 0 ? 0 : -Infinity), top + room];
      },
    };
  }

  #xScale(): uPlot.Scale {
    const scale: uPlot.Scale = { time: false, range: () => this.#xRange() };
    return this.#options.x.log ? { ...scale, distr: 3, log: 2 } : scale;
  }

  #xRange(): [number, number] {
    const { values, range } = this.#options.x;
    const [from, to] = this.#range ?? range ?? [values[0] ?? 0, values.at(-1) ?? 1];
    if (this.#options.x.log) return [from / this.#xUnit.factor / 1.1, (to / this.#xUnit.factor) * 1.1];
    const room = this.#options.x.whole ? 0.5 : from === to ? 1 : 0;
    return [from / this.#xUnit.factor - room, to / this.#xUnit.factor + room];
  }

  #axes(): uPlot.Axis[] {
    const font = `11px ${this.#ink.font}`;
    const stroke = () => this.#theme.color("--pk-muted");
    const grid = { stroke: () => `color-mix(in srgb, ${this.#theme.color("--pk-line")} 65%, transparent)`, width: 1 };
    const common = { font, stroke, ticks: { show: false }, gap: 6 };
    const x: uPlot.Axis = {
      ...common,
      grid: { ...grid, show: !this.#options.x.whole },
      size: AXIS_HEIGHT,
      space: 64,
      values: (_, splits) => withUnit(splits, this.#xUnit.name),
    };
    if (this.#options.x.log) x.splits = (_plot, _axis, min, max) => powersOfTwo(min, max);
    if (this.#options.x.whole) {
      x.incrs = NICE;
      x.values = (_, splits) => splits.map((value, i) => (i ? tick(value) : `${this.#xUnit.name} ${tick(value)}`));
    }
    if (this.#options.x.axis === false) {
      x.size = 0;
      x.values = (_, splits) => splits.map(() => null);
    }
    const y: uPlot.Axis = {
      ...common,
      grid,
      size: AXIS_WIDTH,
      space: this.#options.height < 150 ? 20 : 36,
      values: (_, splits) => withUnit(splits, this.#yUnit.name),
    };
    return [x, y];
  }

  #cursor(): uPlot.Cursor {
    const cursor: uPlot.Cursor = {
      y: false,
      points: {
        size: 9,
        width: 2,
        stroke: () => this.#theme.color("--pk-bg"),
        fill: (plot, i) => (plot.series[i]?.points?.stroke as () => string)(),
      },
      // A snapping cursor makes every click look like a drag to uPlot; `click` keeps it from stopping them.
      drag: { x: true, y: false, setScale: false, dist: CLICK_PX, click: () => {} },
      bind: { dblclick: () => () => (this.#zoomTo(null), null) },
    };
    if (this.#options.sync) cursor.sync = { key: this.#options.sync, setSeries: false, scales: ["x", null] };
    if (this.#options.snap) {
      cursor.move = (plot, left, top) => {
        const at = left < 0 ? undefined : plot.data[0][plot.posToIdx(left)];
        return [at === undefined ? left : plot.valToPos(at, "x"), top];
      };
    }
    return cursor;
  }

  #hover(index: number | null): void {
    this.#index = index;
    this.#options.onHover?.(index);
  }

  #pick(index: number | null): void {
    if (index !== null) this.#options.onPick?.(index);
  }

  #dragged(plot: uPlot): void {
    const { left, width } = plot.select;
    if (width < CLICK_PX) return;
    const factor = this.#xUnit.factor;
    this.#zoomTo([plot.posToVal(left, "x") * factor, plot.posToVal(left + width, "x") * factor]);
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  #zoomTo(range: readonly [number, number] | null): void {
    if (this.#options.onZoom) this.#options.onZoom(range);
    else this.zoom(range);
  }

  #key(event: KeyboardEvent): void {
    const last = this.#options.x.values.length - 1;
    const at = this.#index ?? this.#selected ?? -1;
    const by = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: at - by, ArrowRight: at + by, Home: 0, End: last }[event.key];
    if (to !== undefined) this.#moveTo(Math.min(Math.max(to, 0), last));
    else if (event.key === "Enter" || event.key === " ") this.#pick(this.#index);
    else if (event.key === "Escape" || event.key === "0") this.#zoomTo(null);
    else return;
    event.preventDefault();
  }

  #moveTo(index: number): void {
    const plot = this.#plot;
    const at = plot?.data[0][index];
    if (!plot || at === undefined) return;
    plot.setCursor({ left: plot.valToPos(at, "x"), top: plot.over.clientHeight / 2 });
    this.el.setAttribute("aria-valuenow", String(index));
    this.el.setAttribute("aria-valuetext", this.#options.describe?.(index) ?? "");
  }

  get #ink(): Ink {
    return { theme: this.#theme, font: getComputedStyle(this.el).fontFamily };
  }

  #drawUnder(plot: uPlot): void {
    const x = (value: number) => value / this.#xUnit.factor;
    const spans = this.#spans.map((span) => ({ ...span, from: x(span.from), to: x(span.to) }));
    drawSpans(plot, spans, this.#ink);
  }

  #drawOver(plot: uPlot): void {
    const marks = (this.#options.marks ?? []).map((mark) => ({ ...mark, y: mark.y / this.#yUnit.factor }));
    drawMarks(plot, marks, this.#ink);
    const selected = this.#selected === null ? undefined : plot.data[0][this.#selected];
    if (selected !== undefined) drawSelection(plot, selected, this.#ink);
  }
}

function largest(columns: readonly Numbers[]): number {
  let most = 0;
  for (const values of columns) for (const v of values) if (v !== null && v > most) most = v;
  return most;
}

/** Whole decades where the values span one, else just the values: one tick is no axis. */
function logRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [1, 10];
  return high / low > 3 ? (uPlot.rangeLog(low, high, 10, false) as [number, number]) : [low / 1.1, high * 1.1];
}

function powersOfTwo(min: number, max: number): number[] {
  const first = Math.ceil(Math.log2(min));
  const count = Math.max(Math.floor(Math.log2(max)) - first + 1, 0);
  return Array.from({ length: count }, (_, i) => 2 ** (first + i));
}

/** Tick labels; the last one carries the unit. */
function withUnit(splits: readonly (number | null)[], unit: string): (string | null)[] {
  const last = splits.findLastIndex((value) => value !== null);
  return splits.map((value, i) => (value === null ? null : `${tick(value)}${i === last && unit ? ` ${unit}` : ""}`));
}
