// Which events have a text in their name, and where the next of them is.
import { endOf, type Event, type Model, type Names, startOf, type Tile } from "./model";
import type { Tiles } from "./tiles";

/** Names in lower case, made once. */
const lowered = new WeakMap<Names, string[]>();

export class Search {
  readonly matches: Uint8Array; // by name
  readonly names: number;
  readonly count: number;
  readonly total: number; // ns
  readonly #found = new WeakMap<Tile, Int32Array>();

  constructor(names: Names, text: string) {
    const needle = text.toLowerCase();
    let lower = lowered.get(names);
    if (!lower) lowered.set(names, (lower = names.full.map((name, i) => `${name}\n${names.short[i]}`.toLowerCase())));
    this.matches = Uint8Array.from(lower, (name) => (name.includes(needle) ? 1 : 0));
    const sum = (values: readonly (number | null)[]) =>
      this.matches.reduce((all, is, i) => all + (is ? (values[i] ?? 0) : 0), 0);
    this.names = this.matches.reduce((all, is) => all + is, 0);
    this.count = sum(names.count);
    this.total = sum(names.total);
  }

  /** The events of a tile that match. */
  of(tile: Tile): Int32Array {
    let found = this.#found.get(tile);
    if (!found) {
      const all = new Int32Array(tile.name.length);
      let count = 0;
      for (let at = 0; at < all.length; at++) if (this.matches[tile.name[at] as number]) all[count++] = at;
      this.#found.set(tile, (found = all.slice(0, count)));
    }
    return found;
  }

  /** The place in `of(tile)` of the first match that is not over at `time`. */
  open(tile: Tile, time: number): number {
    const found = this.of(tile);
    let low = 0;
    let high = found.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (endOf(tile, found[middle] as number) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The match after, or before, an event or a time, in order of start, then from the top; null: there is none. */
  async next(model: Model, tiles: Tiles, from: Event | number, by: 1 | -1): Promise<Event | null> {
    if (!this.count) return null;
    const time = typeof from === "number" ? from : startOf(from);
    const here = typeof from === "number" ? -Infinity * by : from.row.index;
    let best: Event | null = null;
    for (const row of by > 0 ? model.rows : model.rows.toReversed()) {
      // Of this row, what starts at the very time counts only on the far side of the row that we come from.
      const same = by > 0 ? row.index > here : row.index < here;
      const beyond = (start: number) => (start - time) * by > 0 || (same && start === time);
      for (const index of by > 0 ? row.tiles : row.tiles.toReversed()) {
        const [first, last] = tiles.range(index);
        if (by > 0 ? last < time : first > time) continue;
        if (best && (by > 0 ? first >= startOf(best) : last < startOf(best))) break;
        const tile = await tiles.load(index);
        const found = this.of(tile);
        const start = (i: number) => tile.start[found[i] as number] as number;
        let low = 0;
        let high = found.length;
        while (low < high) {
          const middle = (low + high) >> 1;
          if (by > 0 ? beyond(start(middle)) : !beyond(start(middle))) high = middle;
          else low = middle + 1;
        }
        const at = by > 0 ? low : low - 1;
        if (at < 0 || at >= found.length) continue;
        if (!best || (start(at) - startOf(best)) * by < 0) best = { row, tile, at: found[at] as number };
        break;
      }
    }
    return best;
  }
}
