// Ticks of a time axis whose labels never touch, at any scale from nanoseconds to hours.
import { grouped, TIME, type Unit } from "../format";

export interface Tick {
  time: number; // ns
  label: string;
}

export interface Ticks {
  /** What is added to every tick, where the labels would be long; "" else. */
  base: string;
  ticks: Tick[];
}

const NICE = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const STEPS = [1, 1e3, 1e6].flatMap((unit) => NICE.map((n) => n * unit)).concat(
  [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18_000, 36_000, 86_400].map((n) => n * 1e9),
);
const GAP_PX = 18;

/** `measure` gives the width of a label in the pixels of `width`. */
export function ticks(from: number, to: number, width: number, measure: (label: string) => number): Ticks {
  const span = to - from;
  const offset = baseOf(from, span);
  for (const step of STEPS) {
    const space = (step / span) * width;
    if (space < 3 * GAP_PX) continue;
    const unit = unitOf(to - offset, step);
    const decimals = Math.max(Math.ceil(-Math.log10(step / unit.factor) - 1e-9), 0);
    const found: Tick[] = [];
    for (let i = Math.ceil((from - offset) / step); offset + i * step <= to; i++) {
      const label = `${grouped((i * step) / unit.factor, i ? decimals : 0)} ${unit.name}`;
      found.push({ time: offset + i * step, label: offset ? `+${label}` : label });
    }
    if (found.every((one) => measure(one.label) + GAP_PX <= space)) {
      return { base: offset ? exactly(offset) : "", ticks: found };
    }
  }
  return { base: "", ticks: [] };
}

/** A round time before all that is in sight, once that needs more digits than a label should have. */
function baseOf(from: number, span: number): number {
  if (from < 1e3 * span) return 0;
  const round = 10 ** (3 * Math.max(Math.ceil(Math.log10(span) / 3), 1));
  return Math.floor(from / round) * round;
}

/** One unit for the whole axis: minutes and hours only where every tick is a whole one. */
function unitOf(largest: number, step: number): Unit {
  return TIME.findLast(({ factor }) => factor <= largest && (factor <= 1e9 || step % factor === 0)) ?? (TIME[0] as Unit);
}

/** A time with all its digits, in seconds. */
export function exactly(ns: number): string {
  const digits = ns ? Math.max(9 - (/0*$/.exec(String(ns))?.[0].length ?? 0), 0) : 0;
  const [whole = "", part] = grouped(ns / 1e9, digits).split(".");
  return `${part ? `${whole}.${part.replace(/(\d{3})(?=\d)/g, "$1\u202f")}` : whole} s`;
}
