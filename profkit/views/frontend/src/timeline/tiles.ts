// The tiles that have come, and the order in which the others are asked for: what someone waits for,
// what is in sight, then all the rest while nobody touches anything.
import { KernelGone, type Link } from "../link";
import { type Model, type Row, type Tile, tileOf } from "./model";

/** Tiles beyond this are dropped again, the least recently used first: the page has other things to hold. */
const MOST_BYTES = 96e6;
const AT_ONCE = 4; // more would only queue in the kernel, ahead of what is wanted next
const QUIET_MS = 300;

export class Tiles {
  readonly #link: Link;
  readonly #ranges: Model["info"]["tiles"];
  readonly #changed: () => void;
  readonly #tiles = new Map<number, Tile>(); // the least recently used first
  readonly #asked = new Map<number, Promise<Tile>>();
  #wanted: number[] = []; // in sight
  #rest = 0; // the next tile to ask for without need
  #bytes = 0;
  #touched = 0;
  #timer = 0;
  /** Why no more tiles come. */
  error: Error | null = null;

  constructor(link: Link, model: Model, changed: () => void) {
    this.#link = link;
    this.#ranges = model.info.tiles;
    this.#changed = changed;
  }

  dispose(): void {
    clearTimeout(this.#timer);
    this.#rest = Infinity;
    this.#wanted = [];
  }

  get held(): number {
    return this.#tiles.size;
  }

  get(index: number): Tile | undefined {
    return this.#tiles.get(index);
  }

  /** Tiles of a row with events between two times. */
  between(row: Row, from: number, to: number): number[] {
    return row.tiles.filter((index) => {
      const [start, end] = this.#ranges[index] as [number, number, number];
      return start <= to && end >= from;
    });
  }

  range(index: number): readonly [number, number, number] {
    return this.#ranges[index] as [number, number, number];
  }

  /** What is in sight now, instead of what was; the result is how many of it are not here yet. */
  want(indices: readonly number[]): number {
    this.#wanted = [...indices];
    this.#pump();
    return this.#wanted.length;
  }

  /** Someone looks elsewhere or moves: what nobody asked for can wait. */
  touch(): void {
    this.#touched = performance.now();
  }

  /** A tile that someone waits for. */
  load(index: number): Promise<Tile> {
    const tile = this.#tiles.get(index);
    return tile ? Promise.resolve(tile) : (this.#asked.get(index) ?? this.#ask(index));
  }

  retry(): void {
    this.error = null;
    this.#pump();
  }

  #ask(index: number): Promise<Tile> {
    const tile = this.#link.ask("tile", { index }).then(tileOf);
    this.#asked.set(index, tile);
    tile
      .then(
        (loaded) => this.#keep(index, loaded),
        (error: Error) => (this.error = error),
      )
      .finally(() => {
        this.#asked.delete(index);
        this.#changed();
        this.#pump();
      });
    return tile;
  }

  #keep(index: number, tile: Tile): void {
    this.error = null;
    this.#tiles.set(index, tile);
    this.#bytes += tile.bytes;
    for (const [old, { bytes }] of this.#tiles) {
      if (this.#bytes <= MOST_BYTES || old === index) break;
      if (this.#wanted.includes(old)) continue;
      this.#tiles.delete(old);
      this.#bytes -= bytes;
    }
  }

  #pump(): void {
    if (this.error) return;
    this.#wanted = this.#wanted.filter((index) => !this.#tiles.has(index));
    for (const index of this.#wanted) {
      if (this.#asked.size >= AT_ONCE) return;
      if (!this.#asked.has(index)) void this.#ask(index).catch(() => {});
    }
    clearTimeout(this.#timer);
    const quiet = this.#touched + QUIET_MS - performance.now();
    if (quiet > 0) this.#timer = setTimeout(() => this.#pump(), quiet);
    else this.#pull();
  }

  #pull(): void {
    while (this.#rest < this.#ranges.length && this.#asked.size < AT_ONCE / 2 && this.#bytes < 0.8 * MOST_BYTES) {
      const index = this.#rest++;
      if (!this.#tiles.has(index) && !this.#asked.has(index)) void this.#ask(index).catch(() => {});
    }
  }

  get gone(): boolean {
    return this.error instanceof KernelGone;
  }
}
