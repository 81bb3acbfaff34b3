// The colours of the moment as a canvas wants them, and text that is measured once.
import type { Theme } from "../theme";
import type { Info } from "./model";

export interface Colours {
  classes: string[];
  on: string[]; // of text on them
  idle: boolean[]; // hatched
  pixels: Uint32Array; // of each bin that there can be: little-endian RGBA
  background: string;
  text: string;
  muted: string;
  line: string;
  accent: string;
  span: string;
  veil: string;
  hatch: CanvasPattern | null;
  metric(name: string): string;
  font: string;
}

/** Of a bin with next to nothing in it, so that it can still be seen. */
const FAINTEST = 70;
const HATCH_PX = 5;

export function coloursOf(theme: Theme, classes: Info["classes"], font: string, ratio: number): Colours {
  const color = (name: string) => theme.color(`--pk-${name}`);
  const metrics = new Map<string, string>();
  const names = classes.map(([group, name]) => `${group}-${name}`);
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const pixels = new Uint32Array(1 << 16);
  const shades = new Uint8Array(pixels.buffer);
  names.forEach((name, kind) => {
    if (!context) return;
    context.fillStyle = color(name);
    context.fillRect(0, 0, 1, 1);
    const [red = 0, green = 0, blue = 0] = context.getImageData(0, 0, 1, 1).data;
    for (let cover = 1; cover < 256; cover++) {
      shades.set([red, green, blue, FAINTEST + ((255 - FAINTEST) * cover) / 255], 4 * (kind | (cover << 8)));
    }
  });
  return {
    classes: names.map(color),
    on: names.map((name) => color(`on-${name}`)),
    idle: classes.map(([group]) => group === "idle"),
    pixels,
    background: color("bg"),
    text: color("text"),
    muted: color("muted"),
    line: color("line"),
    accent: color("accent"),
    span: color("span"),
    veil: color("veil"),
    hatch: hatchOf(color("bg"), ratio),
    metric(name) {
      const known = metrics.get(name) ?? color(`metric-${name}`);
      metrics.set(name, known);
      return known;
    },
    font,
  };
}

/** Stripes in the colour of the background: over a strip they are a hatch, beside it nothing. */
function hatchOf(background: string, ratio: number): CanvasPattern | null {
  const size = Math.round(HATCH_PX * ratio);
  const canvas = new OffscreenCanvas(size, size);
  const context = canvas.getContext("2d");
  if (!context) return null;
  context.strokeStyle = background;
  context.globalAlpha = 0.6;
  context.lineWidth = size * 0.42;
  context.beginPath();
  for (const shift of [-size, 0, size]) {
    context.moveTo(shift - size, 2 * size);
    context.lineTo(shift + 2 * size, -size);
  }
  context.stroke();
  return context.createPattern(canvas, "repeat");
}

/** Text cut to a width; what was measured is remembered. */
export class Writer {
  readonly #context: CanvasRenderingContext2D;
  readonly #widths = new Map<string, number>();
  #font = "";

  constructor(context: CanvasRenderingContext2D) {
    this.#context = context;
  }

  font(font: string): void {
    if (font !== this.#font) this.#widths.clear();
    this.#font = this.#context.font = font;
    this.#context.textBaseline = "middle";
    this.#context.direction = "ltr";
  }

  measure(text: string): number {
    let width = this.#widths.get(text);
    if (width === undefined) {
      if (this.#widths.size > 5000) this.#widths.clear();
      width = this.#context.measureText(text).width;
      this.#widths.set(text, width);
    }
    return width;
  }

  /** Text that ends at `right`, legible over whatever is there. */
  over(text: string, right: number, middle: number, { background, muted }: Colours): void {
    const context = this.#context;
    const left = right - this.measure(text);
    context.strokeStyle = background;
    context.lineWidth = this.measure("0") / 2;
    context.lineJoin = "round";
    context.strokeText(text, left, middle);
    context.fillStyle = muted;
    context.fillText(text, left, middle);
  }

  /** `text`, or its beginning with an ellipsis, or "" where that says nothing. */
  fit(text: string, room: number): string {
    const width = this.measure(text);
    if (width <= room) return text;
    const kept = Math.floor((text.length * room) / width) - 1;
    return kept < 3 ? "" : `${text.slice(0, kept).trimEnd()}…`;
  }
}
