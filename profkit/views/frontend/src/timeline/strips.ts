// A row as a strip of pixels, looked up in a level of detail: a frame costs pixels, not events.
// Python makes the coarse levels of all rows; finer ones are made here, a block of a row at a time, from tiles.
import { endOf, type Model, open, type Row } from "./model";
import type { Tiles } from "./tiles";

/** Bins of a block, and how many blocks are kept. */
const BLOCK = 512;
const MOST_BLOCKS = 8000;
/** Each level has so many times the bins of the one before. */
const FINER = 4;
/** A frame spends no more than this on new blocks; the coarser level stands in for those that wait. */
const BUDGET_MS = 1;

/** A bin is one number: its class, and 256 times its cover. */
export class Strips {
  readonly #model: Model;
  readonly #tiles: Tiles;
  readonly #levels: (Uint16Array | undefined)[]; // rows × bins
  readonly #blocks = new Map<string, Uint16Array>();
  readonly #time = new Float64Array(256); // per class, of one bin
  #scratch = new Uint16Array(0);
  #until = 0;
  /** Blocks of this frame wait for the next. */
  late = false;

  constructor(model: Model, tiles: Tiles) {
    this.#model = model;
    this.#tiles = tiles;
    this.#levels = [binsOf(model.strips)];
  }

  add(level: number, strips: Uint8Array): void {
    this.#levels[level] = binsOf(strips);
  }

  /** A new frame, with a new budget. */
  begin(): void {
    this.late = false;
    this.#until = performance.now() + BUDGET_MS;
    if (this.#blocks.size > MOST_BLOCKS) this.#blocks.clear();
  }

  /** The level with a bin or more for each pixel. */
  level(nsPerPixel: number): number {
    return Math.max(Math.ceil(Math.log(this.#binNs(0) / nsPerPixel) / Math.log(FINER) - 1e-6), 0);
  }

  /** Colour `width` pixels of a row from `offset` in `out`; `colours` has one for each bin that there can be. The result
   * is whether there is anything to draw it from. */
  paint(row: Row, from: number, to: number, width: number, colours: Uint32Array, out: Uint32Array, offset: number): boolean {
    const level = this.level((to - from) / width);
    const binNs = this.#binNs(level);
    const start = this.#model.info.range[0];
    const bins = this.#bins(level);
    const first = Math.max(Math.floor((from - start) / binNs), 0);
    const last = Math.min(Math.ceil((to - start) / binNs), bins);
    const ready = this.#levels[level];
    let strip = ready;
    let shift = row.index * bins;
    if (!ready) {
      this.#gather(row, level, first, last);
      strip = this.#scratch;
      shift = -first;
    }
    if (!strip) return false;
    const perPixel = (to - from) / width / binNs;
    const phase = (from - start) / binNs - first;
    const most = last - first;
    shift += first;
    let next = Math.max(Math.floor(phase), 0);
    for (let x = 0; x < width; x++) {
      const low = next;
      next = Math.floor(phase + (x + 1) * perPixel);
      const high = Math.min(Math.max(next, low + 1), most);
      let best = 0;
      let sum = 0;
      for (let bin = low; bin < high; bin++) {
        const value = strip[bin + shift] as number;
        sum += value >> 8;
        if (value > best) best = value;
      }
      if (best > 255) out[offset + x] = colours[(best & 255) | (Math.max(Math.round(sum / (high - low)), 1) << 8)] as number;
    }
    return true;
  }

  #bins(level: number): number {
    return this.#model.info.bins * FINER ** level;
  }

  #binNs(level: number): number {
    const [from, to] = this.#model.info.range;
    return Math.max(to - from, 1) / this.#bins(level);
  }

  /** Bins first…last of a level into the scratch, from blocks where there are any. */
  #gather(row: Row, level: number, first: number, last: number): void {
    if (this.#scratch.length < last - first) this.#scratch = new Uint16Array(last - first);
    for (let block = Math.floor(first / BLOCK); block * BLOCK < last; block++) {
      const from = Math.max(block * BLOCK, first);
      const to = Math.min((block + 1) * BLOCK, last);
      const made = this.#block(row, level, block);
      if (made) this.#scratch.set(made.subarray(from - block * BLOCK, to - block * BLOCK), from - first);
      else this.#stretch(row, level, from, to, first);
    }
  }

  /** Bins of a level as the next coarser one that is here has them. */
  #stretch(row: Row, level: number, from: number, to: number, first: number): void {
    let coarse = Math.min(level, this.#levels.length) - 1;
    while (!this.#levels[coarse]) coarse--;
    const strip = this.#levels[coarse] as Uint16Array;
    const times = FINER ** (level - coarse);
    const base = row.index * this.#bins(coarse);
    for (let bin = from; bin < to; ) {
      const at = Math.floor(bin / times);
      const next = Math.min((at + 1) * times, to);
      this.#scratch.fill(strip[base + at] as number, bin - first, next - first);
      bin = next;
    }
  }

  #block(row: Row, level: number, block: number): Uint16Array | undefined {
    const key = `${row.index} ${level} ${block}`;
    const made = this.#blocks.get(key);
    if (made) return made;
    if (performance.now() > this.#until) {
      this.late = true;
      return undefined;
    }
    const binNs = this.#binNs(level);
    const from = this.#model.info.range[0] + block * BLOCK * binNs;
    const to = from + BLOCK * binNs;
    const indices = this.#tiles.between(row, from, to);
    const tiles = indices.map((index) => this.#tiles.get(index));
    const strip = new Uint16Array(BLOCK);
    const bin = new Bin(strip, this.#time, binNs);
    for (const tile of tiles) {
      if (!tile) return undefined;
      for (let at = open(tile, from); at < tile.start.length && (tile.start[at] as number) < to; at++) {
        bin.add(((tile.start[at] as number) - from) / binNs, (endOf(tile, at) - from) / binNs, tile.kind[at] as number);
      }
    }
    bin.close();
    this.#blocks.set(key, strip);
    return strip;
  }
}

/** Fills a strip from events in order, which never overlap; positions are in bins. */
class Bin {
  readonly #strip: Uint16Array;
  readonly #share: Float64Array;
  readonly #kinds: number[] = [];
  readonly #least: number; // the cover of what has no length
  #at = -1;

  constructor(strip: Uint16Array, share: Float64Array, binNs: number) {
    this.#strip = strip;
    this.#share = share;
    this.#least = Math.min(0.5 / binNs, 1e-3);
  }

  add(from: number, to: number, kind: number): void {
    if (to <= 0 && from < 0) return;
    const bins = this.#strip.length;
    const first = Math.max(Math.floor(from), 0);
    this.#put(first, Math.max(Math.min(to, first + 1) - Math.max(from, first), this.#least), kind);
    const last = Math.min(Math.floor(to), bins);
    if (last <= first) return;
    this.#strip.fill(kind | (255 << 8), first + 1, last);
    if (last < bins && to > last) this.#put(last, to - last, kind);
  }

  #put(bin: number, share: number, kind: number): void {
    if (bin !== this.#at) this.close();
    this.#at = bin;
    if (!this.#share[kind]) this.#kinds.push(kind);
    this.#share[kind] = (this.#share[kind] as number) + share;
  }

  close(): void {
    let best = 0;
    let most = 0;
    let sum = 0;
    for (const kind of this.#kinds) {
      const share = this.#share[kind] as number;
      sum += share;
      if (share > most) {
        most = share;
        best = kind;
      }
      this.#share[kind] = 0;
    }
    if (this.#kinds.length) this.#strip[this.#at] = best | (Math.max(Math.min(Math.round(255 * sum), 255), 1) << 8);
    this.#kinds.length = 0;
  }
}

/** Pairs of (class, cover) as one number each. */
function binsOf(strips: Uint8Array): Uint16Array {
  const bins = new Uint16Array(strips.length / 2);
  for (let i = 0; i < bins.length; i++) bins[i] = (strips[2 * i] as number) | ((strips[2 * i + 1] as number) << 8);
  return bins;
}
