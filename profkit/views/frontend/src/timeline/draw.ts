// One frame. Everything is in the canvas's own pixels: crisp at any ratio of them to CSS pixels.
import { duration } from "../format";
import type { Selection } from "../panel";
import { ticks } from "./axis";
import { type Colours, Writer } from "./ink";
import { AXIS, type Layout, type Line, lineOf } from "./layout";
import { CHUNK, endOf, type Event, type Names, open, type Row, type Tile } from "./model";
import type { Search } from "./search";
import type { Strips } from "./strips";
import type { Tiles } from "./tiles";
import { drawTrack } from "./tracks";
import type { Viewport } from "./viewport";

/** What a frame shows. */
export interface Scene {
  viewport: Viewport;
  layout: Layout;
  scroll: number; // CSS pixels
  ratio: number; // canvas pixels to a CSS pixel
  colours: Colours;
  strips: Strips;
  tiles: Tiles;
  names: Names | null;
  selected: Event | null;
  other: { row: Row; time: number; launched: boolean } | null; // the far end of its launch; or is it the work?
  range: readonly [number, number] | null;
  step: Selection | null;
  search: Search | null;
}

export interface Painted {
  base: string; // what is to be added to the ticks
  blank: number; // rows that should show something and do not
}

/** Narrower events are left to the strips, in CSS pixels; and where so many are wider, the widest come first. */
const LEAST_PX = 3;
const MOST_RECTANGLES = 5000;
const COLLECTED = 4 * MOST_RECTANGLES;
const LABEL_PX = 40;
const MOST_LABELS = 300;
const TEXT_PX = 11;

/** The rectangles of a frame. */
class Rectangles {
  readonly left = new Int32Array(COLLECTED);
  readonly right = new Int32Array(COLLECTED);
  readonly line = new Int32Array(COLLECTED);
  readonly at = new Int32Array(COLLECTED);
  readonly tile: Tile[] = [];
  count = 0;
}

export class Painter {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #writer: Writer;
  readonly #found = new Rectangles();
  readonly #bitmap = new OffscreenCanvas(1, 1);
  readonly #bits: OffscreenCanvasRenderingContext2D;
  #image = new ImageData(1, 1);
  #pixels = new Uint32Array(this.#image.data.buffer);

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false }) as CanvasRenderingContext2D;
    this.#bits = this.#bitmap.getContext("2d") as OffscreenCanvasRenderingContext2D;
    this.#writer = new Writer(this.#context);
  }

  paint(scene: Scene): Painted {
    const { colours, ratio } = scene;
    const context = this.#context;
    const { width, height } = this.#canvas;
    this.#writer.font(`${TEXT_PX * ratio}px ${colours.font}`);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = 1;
    context.fillStyle = colours.background;
    context.fillRect(0, 0, width, height);
    const marks = ticks(scene.viewport.from, scene.viewport.to, width / ratio, (label) => this.#writer.measure(label) / ratio);
    const lines = this.#visible(scene);

    this.#under(scene, marks.ticks.map(({ time }) => time), lines);
    const blank = this.#strips(scene, lines);
    this.#rectangles(scene, lines);
    this.#hatch(scene, lines);
    if (scene.search) this.#matches(scene, lines, scene.search);
    this.#labels(scene, lines);
    for (const line of lines) {
      if (line.track) drawTrack(context, this.#writer, line.track, scene, this.#y(line, scene), width);
    }
    this.#over(scene);
    this.#axis(scene, marks.ticks);
    return { base: marks.base, blank };
  }

  #visible({ layout, scroll, ratio }: Scene): Line[] {
    const bottom = scroll + this.#canvas.height / ratio - AXIS;
    return layout.lines.filter((line) => line.y < bottom && line.y + line.height > scroll);
  }

  #x({ viewport }: Scene, time: number): number {
    return ((time - viewport.from) / viewport.span) * this.#canvas.width;
  }

  /** Top and height of a line, less a seam to the next. */
  #y(line: Line, { scroll, ratio }: Scene): [number, number] {
    const top = Math.round((AXIS + line.y - scroll) * ratio);
    return [top, Math.round((AXIS + line.y + line.height - scroll) * ratio) - top - Math.max(Math.round(ratio), 1)];
  }

  /** What lies under the rows: the grid, the step that is selected, rules between groups. */
  #under(scene: Scene, grid: readonly number[], lines: readonly Line[]): void {
    const context = this.#context;
    const { colours, ratio, step } = scene;
    const { width, height } = this.#canvas;
    const thin = Math.max(Math.round(ratio), 1);
    if (step) {
      context.fillStyle = colours.span;
      const left = this.#x(scene, step.from);
      context.fillRect(left, AXIS * ratio, Math.max(this.#x(scene, step.to) - left, thin), height);
    }
    context.fillStyle = colours.line;
    context.globalAlpha = 0.55;
    for (const time of grid) context.fillRect(Math.round(this.#x(scene, time)), AXIS * ratio, thin, height);
    context.globalAlpha = 1;
    for (const line of lines) if (line.rule) context.fillRect(0, this.#y(line, scene)[0] - Math.round(3 * ratio), width, thin);
  }

  /** Rows as strips of pixels, with holes for the rectangles that come over them. */
  #strips(scene: Scene, lines: readonly Line[]): number {
    const { viewport, strips, colours } = scene;
    const { width } = this.#canvas;
    const count = lines.reduce((sum, line) => sum + line.rows.length, 0);
    if (this.#image.width !== width || this.#image.height < count) {
      this.#image = new ImageData(width, count + 8);
      this.#pixels = new Uint32Array(this.#image.data.buffer);
      this.#bitmap.width = width;
      this.#bitmap.height = count + 8;
    }
    this.#pixels.fill(0, 0, width * count);
    this.#found.count = 0;
    strips.begin();
    let slot = 0;
    let blank = 0;
    lines.forEach((line, i) => {
      for (const row of line.rows) {
        if (!strips.paint(row, viewport.from, viewport.to, width, colours.pixels, this.#pixels, slot++ * width)) blank++;
        if (line.rows.length === 1) this.#collect(scene, row, i);
      }
    });
    this.#choose(scene.ratio, lines, width);
    if (count) this.#bits.putImageData(this.#image, 0, 0, 0, 0, width, count);
    this.#context.globalAlpha = scene.search ? 0.22 : 1;
    slot = 0;
    for (const line of lines) {
      const [top, height] = this.#y(line, scene);
      // In a folded group the upper rows lie over the lower ones.
      for (let i = line.rows.length - 1; i >= 0; i--) {
        this.#context.drawImage(this.#bitmap, 0, slot + i, width, 1, 0, top, width, height);
      }
      slot += line.rows.length;
    }
    this.#context.globalAlpha = 1;
    return blank;
  }

  /** Events of a row that are wide enough to be rectangles. */
  #collect(scene: Scene, row: Row, line: number): void {
    const { viewport, tiles, ratio } = scene;
    const found = this.#found;
    const least = ((LEAST_PX * ratio) / this.#canvas.width) * viewport.span;
    for (const index of tiles.between(row, viewport.from, viewport.to)) {
      const tile = tiles.get(index);
      if (!tile) continue;
      for (let at = open(tile, viewport.from); at < tile.start.length && (tile.start[at] as number) < viewport.to; at++) {
        if (at % CHUNK === 0) {
          while (at < tile.start.length && (tile.longest[at / CHUNK] as number) < least) at += CHUNK;
          if (at >= tile.start.length || (tile.start[at] as number) >= viewport.to) break;
        }
        if ((tile.duration[at] as number) < least || found.count === COLLECTED) continue;
        const i = found.count++;
        found.left[i] = Math.max(Math.round(this.#x(scene, tile.start[at] as number)), -4);
        found.right[i] = Math.min(Math.round(this.#x(scene, endOf(tile, at))), this.#canvas.width + 4);
        found.line[i] = line;
        found.at[i] = at;
        found.tile[i] = tile;
      }
    }
  }

  /** Keep no more rectangles than a frame has time for, and cut their places out of the strips. */
  #choose(ratio: number, lines: readonly Line[], width: number): void {
    const found = this.#found;
    const wide = new Int32Array(64);
    const widthOf = (i: number) => Math.min(((found.right[i] as number) - (found.left[i] as number)) / ratio, 63) | 0;
    for (let i = 0; i < found.count; i++) wide[widthOf(i)] = (wide[widthOf(i)] as number) + 1;
    let least = 64;
    for (let sum = 0; least > 0 && sum + (wide[least - 1] as number) <= MOST_RECTANGLES; least--) sum += wide[least - 1] as number;
    const slots: number[] = [];
    lines.reduce((slot, line) => (slots.push(slot), slot + line.rows.length), 0);
    let kept = 0;
    for (let i = 0; i < found.count; i++) {
      if (widthOf(i) < least) continue;
      const from = (slots[found.line[i] as number] as number) * width;
      this.#pixels.fill(0, from + Math.max(found.left[i] as number, 0), from + Math.min(found.right[i] as number, width));
      for (const column of [found.left, found.right, found.line, found.at]) column[kept] = column[i] as number;
      found.tile[kept++] = found.tile[i] as Tile;
    }
    found.count = found.tile.length = kept;
  }

  #rectangles(scene: Scene, lines: readonly Line[]): void {
    const { colours, ratio } = scene;
    const found = this.#found;
    const context = this.#context;
    const seam = Math.max(Math.round(ratio), 1);
    let drawn = -1;
    let top = 0;
    let height = 0;
    let line = -1;
    context.globalAlpha = scene.search ? 0.22 : 1;
    for (let i = 0; i < found.count; i++) {
      if (found.line[i] !== line) {
        line = found.line[i] as number;
        [top, height] = this.#y(lines[line] as Line, scene);
      }
      const kind = (found.tile[i] as Tile).kind[found.at[i] as number] as number;
      if (kind !== drawn) context.fillStyle = colours.classes[kind] ?? colours.muted;
      drawn = kind;
      const left = found.left[i] as number;
      context.fillRect(left, top, Math.max((found.right[i] as number) - left - seam, seam), height);
    }
    context.globalAlpha = 1;
  }

  #hatch(scene: Scene, lines: readonly Line[]): void {
    if (!scene.colours.hatch) return;
    this.#context.fillStyle = scene.colours.hatch;
    for (const line of lines) {
      if (line.rows[0]?.kind !== "gaps") continue;
      const [top, height] = this.#y(line, scene);
      this.#context.fillRect(0, top, this.#canvas.width, height);
    }
  }

  /** What the search found, over the rest that is dimmed: at most one of them a pixel. */
  #matches(scene: Scene, lines: readonly Line[], search: Search): void {
    const { viewport, tiles, ratio, colours } = scene;
    const least = Math.max(Math.round(1.5 * ratio), 1);
    for (const line of lines) {
      const [top, height] = this.#y(line, scene);
      for (const row of line.rows) {
        for (const index of tiles.between(row, viewport.from, viewport.to)) {
          const tile = tiles.get(index);
          if (!tile) continue;
          const found = search.of(tile);
          for (let i = search.open(tile, viewport.from); i < found.length; ) {
            const at = found[i] as number;
            const start = tile.start[at] as number;
            if (start > viewport.to) break;
            const left = Math.max(Math.round(this.#x(scene, start)), -4);
            const right = Math.min(Math.max(Math.round(this.#x(scene, endOf(tile, at))) - 1, left + least), this.#canvas.width + 4);
            this.#context.fillStyle = colours.classes[tile.kind[at] as number] ?? colours.muted;
            this.#context.fillRect(left, top, right - left, height);
            i = Math.max(i + 1, search.open(tile, viewport.from + (right / this.#canvas.width) * viewport.span));
          }
        }
      }
    }
  }

  #labels(scene: Scene, lines: readonly Line[]): void {
    const { names, ratio, colours, search } = scene;
    if (!names) return;
    const found = this.#found;
    const room = 4 * ratio;
    let count = 0;
    for (let i = 0; i < found.count && count < MOST_LABELS; i++) {
      const left = Math.max(found.left[i] as number, 0) + room;
      const width = Math.min(found.right[i] as number, this.#canvas.width) - left - room;
      const tile = found.tile[i] as Tile;
      const at = found.at[i] as number;
      const name = tile.name[at] as number;
      if (width < (LABEL_PX - 8) * ratio || (search && !search.matches[name])) continue;
      const line = lines[found.line[i] as number] as Line;
      const text = this.#writer.fit(labelOf(line.rows[0] as Row, names.short[name] ?? "", tile, at), width);
      if (!text) continue;
      const [top, height] = this.#y(line, scene);
      const kind = tile.kind[at] as number;
      if (colours.idle[kind]) {
        this.#context.fillStyle = colours.background;
        this.#context.fillRect(left - 2 * ratio, top + 2 * ratio, this.#writer.measure(text) + 4 * ratio, height - 4 * ratio);
      }
      this.#context.fillStyle = colours.idle[kind] ? colours.text : (colours.on[kind] ?? colours.text);
      this.#context.fillText(text, left, top + height / 2 + ratio / 2);
      count++;
    }
  }

  /** What lies over the rows: the range, the selected event, and the arrow to its launch. */
  #over(scene: Scene): void {
    const context = this.#context;
    const { colours, ratio, range, selected, other } = scene;
    const { height } = this.#canvas;
    if (range) {
      const [left, right] = [this.#x(scene, range[0]), this.#x(scene, range[1])];
      context.fillStyle = colours.accent;
      context.globalAlpha = 0.13;
      context.fillRect(left, 0, right - left, height);
      context.globalAlpha = 1;
      for (const edge of [left, right]) context.fillRect(Math.round(edge), 0, Math.max(Math.round(ratio), 1), height);
    }
    if (!selected) return;
    const line = lineOf(scene.layout, selected.row);
    if (!line) return;
    const [top, tall] = this.#y(line, scene);
    const left = this.#x(scene, selected.tile.start[selected.at] as number);
    const right = Math.max(this.#x(scene, endOf(selected.tile, selected.at)), left + 2 * ratio);
    const clipped = [Math.max(left, -9), Math.min(right, this.#canvas.width + 9)] as const;
    for (const [color, wide] of [[colours.background, 5], [colours.text, 2]] as const) {
      context.strokeStyle = color;
      context.lineWidth = wide * ratio;
      context.strokeRect(clipped[0], top, clipped[1] - clipped[0], tall);
    }
    const far = other && lineOf(scene.layout, other.row);
    if (far && other) {
      const here: [number, number] = [left, top + tall / 2];
      const [y, size] = this.#y(far, scene);
      const there: [number, number] = [this.#x(scene, other.time), y + size / 2];
      if (other.launched) this.#arrow(here, there, scene);
      else this.#arrow(there, here, scene);
    }
  }

  #arrow([x0, y0]: [number, number], [x1, y1]: [number, number], { colours, ratio }: Scene): void {
    const context = this.#context;
    const bend = Math.min(Math.max(Math.abs(x1 - x0) / 2, 24 * ratio), 160 * ratio);
    const head = 6 * ratio;
    for (const [color, wide] of [[colours.background, 4], [colours.text, 1.5]] as const) {
      context.strokeStyle = context.fillStyle = color;
      context.lineWidth = wide * ratio;
      context.beginPath();
      context.moveTo(x0, y0);
      context.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1 - head / 2, y1);
      context.stroke();
    }
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x1 - head, y1 - head * 0.6);
    context.lineTo(x1 - head, y1 + head * 0.6);
    context.fill();
  }

  #axis(scene: Scene, marks: readonly { time: number; label: string }[]): void {
    const context = this.#context;
    const { colours, ratio, range } = scene;
    const { width } = this.#canvas;
    const thin = Math.max(Math.round(ratio), 1);
    const middle = (AXIS / 2) * ratio;
    context.fillStyle = colours.background;
    context.fillRect(0, 0, width, AXIS * ratio - thin);
    context.fillStyle = colours.line;
    context.fillRect(0, Math.round(AXIS * ratio) - thin, width, thin);
    for (const { time } of marks) context.fillRect(Math.round(this.#x(scene, time)), 6 * ratio, thin, (AXIS - 6) * ratio);
    context.fillStyle = colours.muted;
    for (const { time, label } of marks) {
      const left = this.#x(scene, time) + 5 * ratio;
      if (left + this.#writer.measure(label) <= width) context.fillText(label, left, middle + ratio);
    }
    if (!range) return;
    const text = duration(range[1] - range[0]);
    const [from, to] = [Math.max(this.#x(scene, range[0]), 0), Math.min(this.#x(scene, range[1]), width)];
    const size = this.#writer.measure(text) + 12 * ratio;
    const left = Math.min(Math.max((from + to - size) / 2, 0), width - size);
    context.fillStyle = colours.accent;
    context.fillRect(from, AXIS * ratio - 3 * thin, to - from, 3 * thin);
    context.fillStyle = colours.background;
    context.fillRect(left, 3 * ratio, size, (AXIS - 7) * ratio);
    context.fillStyle = colours.text;
    context.fillText(text, left + 6 * ratio, middle);
  }
}

/** A step is known by its number too. */
export function labelOf(row: Row, name: string, tile: Tile, at: number): string {
  return row.kind === "steps" && tile.event ? `${name} ${tile.event[at]}` : name;
}
