// Numbers for people, as profkit/views/format.py writes them: three significant digits, always a unit.

export const NOT_AVAILABLE = "n/a";
const THIN = "\u202f";
const MINUS = "\u2212";

type Maybe = number | null | undefined;

export interface Unit {
  name: string;
  factor: number; // base units in one
  longest?: number; // base units up to which it is used; else up to the next larger unit
}

// People compare runs of a few minutes in seconds, longer ones in minutes.
export const TIME: readonly Unit[] = [
  { name: "ns", factor: 1 },
  { name: "µs", factor: 1e3 },
  { name: "ms", factor: 1e6 },
  { name: "s", factor: 1e9, longest: 600e9 },
  { name: "min", factor: 60e9, longest: 2 * 3600e9 },
  { name: "h", factor: 3600e9 },
];
const SIZE: readonly Unit[] = [
  { name: "bytes", factor: 1 },
  { name: "kB", factor: 1e3 },
  { name: "MB", factor: 1e6 },
  { name: "GB", factor: 1e9 },
  { name: "TB", factor: 1e12 },
];

function known(value: Maybe): value is number {
  return value !== null && value !== undefined && Number.isFinite(value);
}

/** Three significant digits, or all of the integer part. */
export function number(value: Maybe, digits = 3): string {
  return known(value) ? grouped(value, Math.max(digits - 1 - exponent(value, digits), 0)) : NOT_AVAILABLE;
}

export function count(value: Maybe): string {
  return known(value) ? grouped(value, 0) : NOT_AVAILABLE;
}

export function duration(ns: Maybe): string {
  return scaled(ns, TIME);
}

export function size(bytes: Maybe): string {
  return scaled(bytes, SIZE);
}

/** A part of one; a part too small for that is "< 0.1 %", never 0. */
export function share(part: Maybe): string {
  if (!known(part)) return NOT_AVAILABLE;
  const percent = 100 * part;
  if (percent !== 0 && Math.abs(percent) < 0.05) return "< 0.1 %";
  return `${grouped(percent, percent === 0 || percent === 100 ? 0 : 1)} %`;
}

export function plural(of: number, one: string): string {
  return `${count(of)} ${of === 1 ? one : `${one}s`}`;
}

/** A value with its unit as records name units: "ns", "bytes", "bytes/s", "%", "W", ... */
export function quantity(value: Maybe, unit: string): string {
  if (!known(value)) return NOT_AVAILABLE;
  if (unit === "ns") return duration(value);
  if (unit === "bytes") return size(value);
  if (unit === "bytes/s") return `${size(value)}/s`;
  return unit ? `${number(value)} ${unit}` : number(value);
}

/** The unit for all the ticks of one axis, by its largest value. */
export function axisUnit(largest: number, unit: string): Unit {
  if (unit === "ns") return fitting(largest, TIME);
  const [base, per] = unit.split("/");
  if (base !== "bytes") return { name: unit, factor: 1 };
  const fit = fitting(largest, SIZE);
  return per ? { ...fit, name: `${fit.name}/${per}` } : fit;
}

/** A value on an axis: no more digits than it needs. */
export function tick(value: number): string {
  const digits = String(Number(value.toPrecision(6)));
  return grouped(value, digits.split(".")[1]?.length ?? 0);
}

function fitting(value: number, units: readonly Unit[]): Unit {
  const at = units.findIndex((unit, i) => {
    // 999.6 ms reads "1.00 s": it is the rounded value that has to fit its unit.
    const limit = unit.longest ?? units[i + 1]?.factor ?? Infinity;
    return Math.abs(rounded(value / unit.factor, 3)) * unit.factor < limit;
  });
  return units.at(at) as Unit;
}

function scaled(value: Maybe, units: readonly Unit[]): string {
  if (!known(value)) return NOT_AVAILABLE;
  const { name, factor } = fitting(value, units);
  const whole = factor === 1 && Number.isInteger(value);
  return `${whole ? grouped(value, 0) : number(value / factor)} ${name}`;
}

function rounded(value: number, digits: number): number {
  return Number(value.toExponential(digits - 1));
}

function exponent(value: number, digits: number): number {
  const size = Math.abs(rounded(value, digits));
  return size ? Math.floor(Math.log10(size)) : 0;
}

/** With all its digits, in groups of three. */
export function grouped(value: number, decimals: number): string {
  const text = fixed(Math.abs(value), decimals).replace(/\B(?<!\.\d*)(?=(\d{3})+(?!\d))/g, THIN);
  return value < 0 && /[1-9]/.test(text) ? MINUS + text : text;
}

/** `toFixed`, with ties to the even digit as in Python: toFixed takes them up. */
function fixed(value: number, decimals: number): string {
  const up = value.toFixed(decimals);
  const beyond = 25; // enough digits to tell a tie from its neighbours
  const exact = value.toFixed(decimals + beyond);
  const odd = Number(up.at(-1)) % 2 === 1;
  return odd && /^50*$/.test(exact.slice(-beyond)) ? exact.slice(0, -beyond).replace(/\.$/, "") : up;
}
