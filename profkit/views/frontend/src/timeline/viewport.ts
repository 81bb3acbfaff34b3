// Which time is in sight, and how it moves.

const SHORTEST_NS = 100;
const MOVE_MS = 160;

type Range = readonly [number, number];

export class Viewport {
  readonly whole: Range;
  from: number;
  to: number;
  #moving: { from: Range; to: Range; since: number } | null = null;
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor([from, to]: Range) {
    this.whole = [from, Math.max(to, from + SHORTEST_NS)];
    [this.from, this.to] = this.whole;
  }

  get span(): number {
    return this.to - this.from;
  }

  /** Where it is going, or is. */
  get goal(): Range {
    return this.#moving?.to ?? [this.from, this.to];
  }

  /** Go to a range, as far as there is something; at once, or so that the eye can follow. */
  go(from: number, to: number, smoothly = false): void {
    const [first, last] = this.whole;
    const span = Math.min(Math.max(to - from, SHORTEST_NS), last - first);
    const start = Math.min(Math.max((from + to - span) / 2, first), last - span);
    const goal: Range = [start, start + span];
    if (smoothly && !this.#still.matches) {
      this.#moving = { from: [this.from, this.to], to: goal, since: performance.now() };
    } else {
      this.#moving = null;
      [this.from, this.to] = goal;
    }
  }

  /** Show a range with some room around it. */
  show(from: number, to: number, room = 0.1): void {
    const extra = Math.max((to - from) * room, SHORTEST_NS / 2);
    this.go(from - extra, to + extra, true);
  }

  zoom(factor: number, at: number, smoothly = false): void {
    const [from, to] = smoothly ? this.goal : [this.from, this.to];
    this.go(at - (at - from) * factor, at + (to - at) * factor, smoothly);
  }

  pan(ns: number, smoothly = false): void {
    const [from, to] = smoothly ? this.goal : [this.from, this.to];
    this.go(from + ns, to + ns, smoothly);
  }

  /** Take the next step of a movement; false: it has arrived. */
  advance(now: number): boolean {
    if (!this.#moving) return false;
    const { from, to, since } = this.#moving;
    const part = Math.min(Math.max((now - since) / MOVE_MS, 0), 1);
    const eased = 1 - (1 - part) ** 3;
    this.from = from[0] + (to[0] - from[0]) * eased;
    this.to = from[1] + (to[1] - from[1]) * eased;
    if (part === 1) [this.from, this.to] = to;
    if (part === 1) this.#moving = null;
    return part < 1;
  }
}
