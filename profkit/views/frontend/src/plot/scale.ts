// From values to pixels, and the ticks between them.
import { tick } from "../format";

/** One axis: values low…high on pixels `from`…`to`, straight or by powers of `log`. */
export class Scale {
  readonly low: number;
  readonly high: number;
  readonly #from: number;
  readonly #to: number;
  readonly #log: boolean;

  constructor([low, high]: readonly [number, number], [from, to]: readonly [number, number], log = false) {
    this.low = low;
    this.high = high > low ? high : low + 1;
    this.#from = from;
    this.#to = to;
    this.#log = log;
  }

  at(value: number): number {
    const part = this.#log
      ? Math.log(value / this.low) / Math.log(this.high / this.low)
      : (value - this.low) / (this.high - this.low);
    return this.#from + part * (this.#to - this.#from);
  }

  value(pixel: number): number {
    const part = (pixel - this.#from) / (this.#to - this.#from);
    return this.#log ? this.low * (this.high / this.low) ** part : this.low + part * (this.high - this.low);
  }

  /** Round values at least `space` pixels apart; `whole` ones if only those mean something. */
  ticks(space: number, whole = false): number[] {
    const most = Math.abs(this.#to - this.#from) / space;
    const least = Math.max((this.high - this.low) / most, whole ? 1 : 0);
    const power = 10 ** Math.floor(Math.log10(least));
    const step = ([1, 2, whole && power < 10 ? 5 : 2.5, 5, 10].find((n) => n * power >= least * (1 - 1e-9)) as number) * power;
    const first = Math.ceil(this.low / step - 1e-9);
    const count = Math.max(Math.floor(this.high / step + 1e-9) - first + 1, 0);
    return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  }

  /** Powers of `base`, and of ten their double and fivefold where there is room. */
  powers(base: number, space: number): number[] {
    const pixels = Math.abs(this.at(this.low * base) - this.#from);
    const inner = base === 10 ? [[1, 2, 5], [1, 3], [1]] : [[1]];
    const between = inner.find((all) => pixels / (all.length + (all.length > 1 ? 0.4 : 0)) >= space) ?? [1];
    const every = Math.max(Math.ceil(space / pixels), 1);
    const found: number[] = [];
    for (let e = Math.floor(Math.log(this.low) / Math.log(base)); base ** e <= this.high; e++) {
      if (e % every) continue;
      for (const n of between) if (n * base ** e >= this.low * 0.999 && n * base ** e <= this.high * 1.001) found.push(n * base ** e);
    }
    return found.length > 1 || base !== 10 ? found : this.ticks(space);
  }
}

/** Tick labels; the last one carries the unit. */
export function withUnit(ticks: readonly number[], unit: string): string[] {
  return ticks.map((value, i) => `${tick(value)}${i === ticks.length - 1 && unit ? ` ${unit}` : ""}`);
}

/** Whole decades where the values span one, else just the values: one tick is no axis. */
export function logRange(low: number, high: number): [number, number] {
  if (high / low <= 3) return [low / 1.1, high * 1.1];
  return [10 ** Math.floor(Math.log10(low) + 1e-9), 10 ** Math.ceil(Math.log10(high) - 1e-9)];
}
