// What a plot draws around its curves: axes, shaded spans, reference lines, the selection. Canvas pixels.
import type { Scale } from "./plot/scale";
import type { Theme } from "./theme";

/** A horizontal line with its name at the right of the plot. */
export interface Mark {
  y: number;
  label: readonly string[]; // lines of text
  color: string; // a CSS variable of the view
  dash: readonly number[];
}

/** A stretch of the x axis with its name above the plot. */
export interface Span {
  from: number;
  to: number;
  label?: string;
}

/** Where and with what a frame is drawn; scales and what they are given are in the plot's own units. */
export interface Frame {
  context: CanvasRenderingContext2D;
  left: number;
  top: number;
  right: number;
  bottom: number;
  x: Scale;
  y: Scale;
  ratio: number; // canvas pixels to a CSS pixel
  theme: Theme;
  font: string; // a family
}

const TEXT_PX = 11;
const LINE_PX = 14;
const GAP_PX = 6;

export function clipped(frame: Frame, draw: () => void): void {
  const { context, left, top, right, bottom } = frame;
  context.save();
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  context.clip();
  draw();
  context.restore();
}

/** Grid and labels of an axis; a label that would touch the one before is left out. */
export function drawAxis(frame: Frame, side: "x" | "y", ticks: readonly number[], labels: readonly string[], grid: boolean): void {
  const { context, left, top, right, bottom, ratio, theme } = frame;
  context.globalAlpha = 0.65;
  context.strokeStyle = theme.color("--pk-line");
  for (const tick of grid ? ticks : []) {
    if (side === "x") line(frame, [frame.x.at(tick), top], [frame.x.at(tick), bottom]);
    else line(frame, [left, frame.y.at(tick)], [right, frame.y.at(tick)]);
  }
  context.globalAlpha = 1;
  pen(frame);
  let free = -Infinity;
  ticks.forEach((tick, i) => {
    const text = labels[i] ?? "";
    const width = context.measureText(text).width;
    if (side === "y") {
      context.textBaseline = "middle";
      context.fillText(text, left - GAP_PX * ratio - width, frame.y.at(tick));
      return;
    }
    const start = Math.min(frame.x.at(tick) - width / 2, context.canvas.width - width);
    context.textBaseline = "top";
    if (start >= free) context.fillText(text, start, bottom + GAP_PX * ratio);
    if (start >= free) free = start + width + GAP_PX * ratio;
  });
}

export function drawSpans(frame: Frame, spans: readonly Span[]): void {
  const { context, left, top, right, bottom, x, ratio, theme } = frame;
  clipped(frame, () => {
    context.fillStyle = theme.color("--pk-span");
    for (const { from, to } of spans) context.fillRect(x.at(from), top, Math.max(x.at(to) - x.at(from), ratio), bottom - top);
  });
  pen(frame);
  context.textBaseline = "bottom";
  for (const { from, label } of spans) {
    const at = x.at(from);
    if (label && at >= left - 1 && at < right) context.fillText(label, at, top - 4 * ratio);
  }
}

export function drawMarks(frame: Frame, marks: readonly Mark[]): void {
  const { context, left, top, right, bottom, ratio, theme } = frame;
  for (const { y, label, color, dash } of marks) {
    const at = frame.y.at(y);
    if (!(at >= top && at <= bottom)) continue;
    context.strokeStyle = theme.color(color);
    context.setLineDash(dash.map((length) => length * ratio));
    line(frame, [left, at], [right, at]);
    context.setLineDash([]);
    pen(frame);
    context.textBaseline = "middle";
    label.forEach((text, i) => context.fillText(text, right + 8 * ratio, at + i * LINE_PX * ratio));
  }
}

/** An upright line: what is selected, or under the cursor. */
export function drawUpright(frame: Frame, x: number, color: string): void {
  const at = frame.x.at(x);
  frame.context.strokeStyle = frame.theme.color(color);
  clipped(frame, () => line(frame, [at, frame.top], [at, frame.bottom]));
}

export function dot({ context, ratio }: Frame, x: number, y: number, size: number): void {
  context.beginPath();
  context.arc(x, y, (size / 2) * ratio, 0, 2 * Math.PI);
  context.fill();
}

export function ring({ context, ratio }: Frame, x: number, y: number, size: number): void {
  context.beginPath();
  context.arc(x, y, (size / 2) * ratio, 0, 2 * Math.PI);
  context.stroke();
}

/** A crisp line: an odd number of pixels wide, through the middle of one. */
function line({ context, ratio }: Frame, from: [number, number], to: [number, number]): void {
  context.lineWidth = Math.max(1, Math.round(ratio));
  const crisp = (at: number) => Math.round(at) + (context.lineWidth % 2) / 2;
  context.beginPath();
  context.moveTo(crisp(from[0]), crisp(from[1]));
  context.lineTo(crisp(to[0]), crisp(to[1]));
  context.stroke();
}

function pen({ context, ratio, theme, font }: Frame): void {
  context.font = `${TEXT_PX * ratio}px ${font}`;
  context.fillStyle = theme.color("--pk-muted");
  context.textAlign = "left";
}
