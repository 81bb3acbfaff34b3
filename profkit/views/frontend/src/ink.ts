// What a plot draws around its curves: shaded spans, reference lines, the selection. Canvas pixels.
import uPlot from "uplot";
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

export interface Ink {
  theme: Theme;
  font: string; // a family
}

const TEXT_PX = 11;
const LINE_PX = 14;

/** `xs` and `ys` in what follows are in the plot's own units. */
export function drawSpans(plot: uPlot, xs: readonly Span[], ink: Ink): void {
  const { ctx, bbox } = plot;
  const x = (value: number) => plot.valToPos(value, "x", true);
  clipped(plot, () => {
    ctx.fillStyle = ink.theme.color("--pk-span");
    for (const { from, to } of xs) ctx.fillRect(x(from), bbox.top, Math.max(x(to) - x(from), 1), bbox.height);
  });
  for (const { from, label } of xs) {
    const inside = x(from) >= bbox.left - 1 && x(from) < bbox.left + bbox.width;
    if (label && inside) write(plot, label, x(from), bbox.top - 4 * uPlot.pxRatio, "bottom", ink);
  }
}

export function drawMarks(plot: uPlot, ys: readonly Mark[], ink: Ink): void {
  const { ctx, bbox } = plot;
  const right = bbox.left + bbox.width;
  for (const { y, label, color, dash } of ys) {
    const at = plot.valToPos(y, "y", true);
    if (at < bbox.top || at > bbox.top + bbox.height) continue;
    clipped(plot, () => {
      ctx.strokeStyle = ink.theme.color(color);
      ctx.setLineDash(dash.map((length) => length * uPlot.pxRatio));
      line(ctx, [bbox.left, at], [right, at]);
    });
    label.forEach((text, i) => write(plot, text, right + 8 * uPlot.pxRatio, at + i * LINE_PX * uPlot.pxRatio, "middle", ink));
  }
}

export function drawSelection(plot: uPlot, x: number, ink: Ink): void {
  const { ctx, bbox } = plot;
  const at = plot.valToPos(x, "x", true);
  clipped(plot, () => {
    ctx.strokeStyle = ink.theme.color("--pk-accent");
    line(ctx, [at, bbox.top], [at, bbox.top + bbox.height]);
  });
}

function clipped(plot: uPlot, draw: () => void): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw();
  ctx.restore();
}

/** A crisp line: an odd number of pixels wide, through the middle of one. */
function line(ctx: CanvasRenderingContext2D, from: [number, number], to: [number, number]): void {
  ctx.lineWidth = Math.max(1, Math.round(uPlot.pxRatio));
  const crisp = (at: number) => Math.round(at) + (ctx.lineWidth % 2) / 2;
  ctx.beginPath();
  ctx.moveTo(crisp(from[0]), crisp(from[1]));
  ctx.lineTo(crisp(to[0]), crisp(to[1]));
  ctx.stroke();
}

function write(plot: uPlot, text: string, x: number, y: number, base: CanvasTextBaseline, ink: Ink): void {
  const { ctx } = plot;
  ctx.save();
  ctx.font = `${TEXT_PX * uPlot.pxRatio}px ${ink.font}`;
  ctx.fillStyle = ink.theme.color("--pk-muted");
  ctx.textAlign = "left";
  ctx.textBaseline = base;
  ctx.fillText(text, x, y);
  ctx.restore();
}
