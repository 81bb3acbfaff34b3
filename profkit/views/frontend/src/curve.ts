// One plot of curves over one axis, with what our plots have in common: bands, reference lines (floor, SLO,
// median), shaded spans, log axes, a selection, and hover by mouse and by keyboard.
import { h } from "./dom";
import { axisUnit, tick, type Unit } from "./format";
import { clipped, dot, drawAxis, drawMarks, drawSpans, drawUpright, ring, type Frame, type Mark, type Span } from "./ink";
import { followSize } from "./plot/canvas";
import { logRange, Scale, withUnit } from "./plot/scale";
import { areaOf, bisect, strokeOf, trace } from "./plot/trace";
import type { Theme } from "./theme";

export type Numbers = readonly (number | null)[];
type Range = readonly [number, number];

export interface Line {
  label: string;
  color: string; // a CSS variable of the view
  values: Numbers;
  shape?: "line" | "points" | "steps"; // steps: a value holds for the time up to it
  fill?: boolean; // down to the axis
  connect?: boolean; // draw on over absent values
  dashed?: boolean; // a floor: a line without its points
  rings?: readonly number[]; // points with a ring around them
  band?: { low: Numbers; high: Numbers };
  hidden?: boolean;
}

export interface CurveOptions {
  name: string; // said to those who do not see it
  height: number;
  x: {
    values: Numbers; // in order
    unit: string;
    range?: Range;
    log?: boolean; // of base 2: batch sizes, context lengths
    whole?: boolean; // counts things: a tick for each of some, no grid
    axis?: boolean;
  };
  unit: string; // of y: "ns", "bytes", "%", "W", ...
  lines: readonly Line[];
  marks?: readonly Mark[]; // given, if only empty, room is kept for their names
  spans?: readonly Span[]; // given, if only empty, room is kept for their names
  log?: boolean;
  fromZero?: boolean;
  sync?: string; // plots with one key share their cursor
  snap?: boolean; // the cursor stands on points only
  describe?(index: number): string; // a point in words
  onHover?(index: number | null): void;
  onPick?(index: number): void;
  onZoom?(range: Range | null): void; // instead of zooming itself
}

const AXIS_WIDTH = 66;
const MARK_WIDTH = 84; // room for the names of reference lines, at the right
const AXIS_HEIGHT = 26;
const SPAN_HEIGHT = 20; // room for the names of spans, at the top
const CLICK_PX = 4; // a press that moves further is a drag
const DOTS_PX = 8; // points further apart than this are seen as such
const FAINT = 0.16;

/** Plots that share a cursor, by their key. */
const together = new Map<string, Set<Curve>>();

export class Curve {
  readonly el: HTMLElement;
  readonly #options: CurveOptions;
  readonly #theme: Theme;
  readonly #canvas = h("canvas", {});
  readonly #over = h("div", { class: "pk-over" });
  readonly #context = this.#canvas.getContext("2d") as CanvasRenderingContext2D;
  readonly #xs: number[]; // in units of the axis
  readonly #yUnit: Unit;
  readonly #xUnit: Unit;
  readonly #shown: boolean[];
  readonly #stops: (() => void)[] = [];
  #ratio = 0; // 0: not seen yet
  #due = false;
  #log: boolean;
  #cursor: number | null = null; // x, in units of the axis
  #selected: number | null = null;
  #spans: readonly Span[];
  #marks: readonly Mark[];
  #range: Range | null = null;
  #pressed: number | null = null;
  #drag: Range | null = null; // CSS pixels

  constructor(options: CurveOptions, theme: Theme) {
    this.#options = options;
    this.#theme = theme;
    this.#log = options.log ?? false;
    this.#spans = options.spans ?? [];
    this.#marks = options.marks ?? [];
    this.#shown = options.lines.map((line) => !line.hidden);
    this.#yUnit = axisUnit(largest(options.lines.map((line) => line.values)), options.unit);
    this.#xUnit = axisUnit(options.x.range?.[1] ?? largest([options.x.values]), options.x.unit);
    this.#xs = options.x.values.map((value) => (value ?? 0) / this.#xUnit.factor);
    this.el = h(
      "div",
      {
        class: "pk-curve",
        tabindex: 0,
        role: "slider",
        "aria-label": options.name,
        "aria-valuemin": 0,
        "aria-valuemax": Math.max(this.#xs.length - 1, 0),
        "aria-valuenow": 0,
        "aria-valuetext": "",
        onkeydown: (event: KeyboardEvent) => this.#key(event),
      },
      this.#canvas,
      this.#over,
    );
    this.el.style.height = `${options.height}px`;
    const [left, top, right, bottom] = this.#room;
    this.#over.style.inset = `${top}px ${right}px ${bottom}px ${left}px`;
    this.#listen();
    this.#stops.push(
      followSize(this.#canvas, (ratio) => {
        this.#ratio = ratio;
        this.#paint();
      }),
      theme.changed(() => this.#draw()),
    );
    if (options.sync) {
      const others = together.get(options.sync) ?? new Set();
      together.set(options.sync, others.add(this));
      this.#stops.push(() => others.delete(this));
    }
  }

  dispose(): void {
    for (const stop of this.#stops) stop();
  }

  setLog(log: boolean): void {
    this.#log = log;
    this.#draw();
  }

  show(line: number, shown: boolean): void {
    this.#shown[line] = shown;
    this.#draw();
  }

  select(index: number | null): void {
    this.#selected = index;
    this.#draw();
  }

  setMarks(marks: readonly Mark[]): void {
    this.#marks = marks;
    this.#draw();
  }

  setSpans(spans: readonly Span[]): void {
    this.#spans = spans;
    this.#draw();
  }

  /** Show a part of the x axis; null: all of it. */
  zoom(range: Range | null): void {
    this.#range = range;
    this.#draw();
  }

  // Mouse and keys

  #listen(): void {
    const over = this.#over;
    over.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.#pressed = event.offsetX;
      over.setPointerCapture(event.pointerId);
    });
    over.addEventListener("pointermove", (event) => {
      const from = this.#pressed;
      if (from !== null && (this.#drag || Math.abs(event.offsetX - from) >= CLICK_PX)) {
        const to = Math.min(Math.max(event.offsetX, 0), over.clientWidth);
        this.#drag = from < to ? [from, to] : [to, from];
      }
      this.#point(this.#xAt(event.offsetX));
    });
    over.addEventListener("pointerup", (event) => {
      const drag = this.#drag;
      const pressed = this.#pressed !== null;
      this.#pressed = this.#drag = null;
      if (drag) this.#zoomTo([this.#xAt(drag[0]) * this.#xUnit.factor, this.#xAt(drag[1]) * this.#xUnit.factor]);
      else if (pressed) this.#pick(this.#nearest(this.#xAt(event.offsetX)));
      this.#draw();
    });
    over.addEventListener("pointercancel", () => (this.#pressed = this.#drag = null));
    over.addEventListener("pointerleave", () => this.#point(null));
    over.addEventListener("dblclick", () => this.#zoomTo(null));
  }

  #xAt(pixel: number): number {
    return new Scale(this.#xRange(), [0, this.#over.clientWidth], this.#options.x.log).value(pixel);
  }

  #nearest(x: number): number | null {
    const scale = new Scale(this.#xRange(), [0, 1], this.#options.x.log);
    const after = bisect(this.#xs, x);
    const away = (i: number) => Math.abs(scale.at(this.#xs[i] ?? Infinity) - scale.at(x));
    const at = after && !(away(after) < away(after - 1)) ? after - 1 : after;
    return at < this.#xs.length ? at : null;
  }

  /** Move the cursor of this plot and of those that share it. */
  #point(x: number | null): void {
    const { sync } = this.#options;
    for (const curve of (sync && together.get(sync)) || [this]) curve.#pointAt(x);
  }

  #pointAt(x: number | null): void {
    const index = x === null ? null : this.#nearest(x);
    this.#cursor = index !== null && this.#options.snap ? (this.#xs[index] ?? null) : x;
    this.#options.onHover?.(index);
    this.#draw();
  }

  #pick(index: number | null): void {
    if (index !== null) this.#options.onPick?.(index);
  }

  #zoomTo(range: Range | null): void {
    if (this.#options.onZoom) this.#options.onZoom(range);
    else this.zoom(range);
  }

  #key(event: KeyboardEvent): void {
    const last = this.#xs.length - 1;
    const here = this.#cursor === null ? null : this.#nearest(this.#cursor);
    const at = here ?? this.#selected ?? -1;
    const by = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: at - by, ArrowRight: at + by, Home: 0, End: last }[event.key];
    if (to !== undefined) this.#moveTo(Math.min(Math.max(to, 0), last));
    else if (event.key === "Enter" || event.key === " ") this.#pick(here);
    else if (event.key === "Escape" || event.key === "0") this.#zoomTo(null);
    else return;
    event.preventDefault();
  }

  #moveTo(index: number): void {
    const x = this.#xs[index];
    if (x === undefined) return;
    this.#point(x);
    this.el.setAttribute("aria-valuenow", String(index));
    this.el.setAttribute("aria-valuetext", this.#options.describe?.(index) ?? "");
  }

  // Scales

  /** What lies around the plot: left, top, right, bottom; CSS pixels. */
  get #room(): [number, number, number, number] {
    const { spans, marks, x } = this.#options;
    return [AXIS_WIDTH, spans ? SPAN_HEIGHT : 10, marks ? MARK_WIDTH : 12, x.axis === false ? 8 : AXIS_HEIGHT];
  }

  #xRange(): Range {
    const { values, range, log, whole } = this.#options.x;
    const [from, to] = (this.#range ?? range ?? [values[0] ?? 0, values.at(-1) ?? 1]).map((x) => x / this.#xUnit.factor) as [number, number];
    if (log) return [from / 1.1, to * 1.1];
    const room = whole ? 0.5 : from === to ? 1 : 0;
    return [from - room, to + room];
  }

  /** The points in sight, and one more at each side. */
  #sight(): [number, number] {
    const [from, to] = this.#xRange();
    return [Math.max(bisect(this.#xs, from) - 1, 0), Math.min(bisect(this.#xs, to), this.#xs.length - 1)];
  }

  #value(values: Numbers, index: number): number | null {
    const value = values[index] ?? null;
    return value === null || (this.#log && value <= 0) ? null : value / this.#yUnit.factor;
  }

  #yRange(): Range {
    let [low, high] = [Infinity, -Infinity];
    const [from, to] = this.#sight();
    this.#options.lines.forEach(({ values, band }, i) => {
      if (!this.#shown[i]) return;
      for (const column of band ? [values, band.low, band.high] : [values]) {
        for (let at = from; at <= to; at++) {
          const value = this.#value(column, at);
          if (value !== null && value < low) low = value;
          if (value !== null && value > high) high = value;
        }
      }
    });
    if (this.#log) return low > high ? [1, 10] : logRange(low, high);
    if (low > high) return [0, 1];
    const marks = this.#marks.map((mark) => mark.y / this.#yUnit.factor);
    const top = Math.max(high, ...marks);
    const bottom = this.#options.fromZero ? 0 : Math.min(low, ...marks);
    const room = (top - bottom || Math.abs(top) || 1) * 0.08;
    return [bottom === 0 ? 0 : Math.max(bottom - room, low >= 0 ? 0 : -Infinity), top + room];
  }

  // Drawing

  /** Once for all that changes in one go. */
  #draw(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => this.#paint());
  }

  #paint(): void {
    this.#due = false;
    const ratio = this.#ratio;
    if (!ratio) return;
    const context = this.#context;
    const { width, height } = this.#canvas;
    const { x } = this.#options;
    const [left, top, right, bottom] = this.#room.map((room) => Math.round(room * ratio)) as [number, number, number, number];
    const box = { left, top, right: width - right, bottom: height - bottom };
    const frame: Frame = {
      ...box,
      context,
      ratio,
      theme: this.#theme,
      font: getComputedStyle(this.el).fontFamily,
      x: new Scale(this.#xRange(), [box.left, box.right], x.log),
      y: new Scale(this.#yRange(), [box.bottom, box.top], this.#log),
    };
    context.clearRect(0, 0, width, height);
    drawSpans(frame, this.#spans.map((span) => ({ ...span, from: span.from / this.#xUnit.factor, to: span.to / this.#xUnit.factor })));
    this.#axes(frame);
    clipped(frame, () => this.#options.lines.forEach((line, i) => this.#shown[i] && this.#line(line, frame)));
    drawMarks(frame, this.#marks.map((mark) => ({ ...mark, y: mark.y / this.#yUnit.factor })));
    const selected = this.#selected === null ? undefined : this.#xs[this.#selected];
    if (selected !== undefined) drawUpright(frame, selected, "--pk-accent");
    this.#hover(frame);
  }

  #axes(frame: Frame): void {
    const { x, height } = this.#options;
    const { ratio } = frame;
    const space = (height < 150 ? 20 : 36) * ratio;
    const ys = this.#log ? frame.y.powers(10, space) : frame.y.ticks(space);
    drawAxis(frame, "y", ys, withUnit(ys, this.#yUnit.name), true);
    const xs = x.log ? frame.x.powers(2, 44 * ratio) : frame.x.ticks(72 * ratio, x.whole);
    const counted = () => xs.map((value, i) => (i ? tick(value) : `${this.#xUnit.name} ${tick(value)}`));
    const labels = x.axis === false ? [] : x.whole ? counted() : withUnit(xs, this.#xUnit.name);
    drawAxis(frame, "x", xs, labels, !x.whole);
  }

  #line(line: Line, frame: Frame): void {
    const { context, ratio } = frame;
    const [from, to] = this.#sight();
    const shape = { held: line.shape === "steps", connect: line.connect ?? false };
    const x = (i: number) => frame.x.at(this.#xs[i] as number);
    const y = (values: Numbers) => (i: number) => {
      const value = this.#value(values, i);
      return value === null ? null : frame.y.at(value);
    };
    const pieces = trace(from, to, x, y(line.values), shape);
    context.strokeStyle = context.fillStyle = this.#theme.color(line.color);
    context.globalAlpha = FAINT;
    if (line.fill) context.fill(areaOf(pieces, frame.bottom));
    if (line.band) {
      const low = trace(from, to, x, y(line.band.low), shape);
      // Both edges of a piece are absent at the same points: a band is the way along one and back along the other.
      trace(from, to, x, y(line.band.high), shape).forEach((high, i) => context.fill(strokeOf([[...high, ...(low[i] ?? []).toReversed()]])));
    }
    context.globalAlpha = 1;
    context.lineWidth = 1.5 * ratio;
    context.lineJoin = "round";
    context.setLineDash(line.dashed ? [4 * ratio, 3 * ratio] : []);
    if (line.shape !== "points") context.stroke(strokeOf(pieces));
    context.setLineDash([]);
    if (line.dashed) return;
    for (const i of line.rings ?? []) {
      const height = y(line.values)(i);
      if (height !== null) ring(frame, x(i), height, 15);
    }
    const apart = (frame.right - frame.left) / Math.max(to - from, 1) >= DOTS_PX * ratio;
    for (const piece of pieces) {
      if (apart || piece.length === 1 || line.shape === "points") for (const [at, height] of dots(piece, shape.held)) dot(frame, at, height, 4.5);
    }
  }

  /** The cursor, a ring on each curve at the point that is read, and the range that is being dragged. */
  #hover(frame: Frame): void {
    const { context, ratio } = frame;
    if (this.#drag) {
      context.fillStyle = this.#theme.color("--pk-span");
      context.fillRect(frame.left + this.#drag[0] * ratio, frame.top, (this.#drag[1] - this.#drag[0]) * ratio, frame.bottom - frame.top);
    }
    if (this.#cursor === null) return;
    drawUpright(frame, this.#cursor, "--pk-muted");
    const index = this.#nearest(this.#cursor);
    this.#options.lines.forEach(({ values, color }, i) => {
      const value = index === null ? null : this.#value(values, index);
      if (!this.#shown[i] || value === null) return;
      clipped(frame, () => {
        for (const [style, size] of [["--pk-bg", 10], [color, 6]] as const) {
          context.fillStyle = this.#theme.color(style);
          dot(frame, frame.x.at(this.#xs[index as number] as number), frame.y.at(value), size);
        }
      });
    });
  }
}

/** The points of a piece without the corners of its steps. */
function dots<T>(piece: readonly T[], held: boolean): T[] {
  return piece.filter((_, i) => !held || i % 2 === 0);
}

function largest(columns: readonly Numbers[]): number {
  let most = 0;
  for (const values of columns) for (const v of values) if (v !== null && v > most) most = v;
  return most;
}
