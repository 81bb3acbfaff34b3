// Telemetry beside the rows: a small curve per metric over the same time.
import { quantity } from "../format";
import { areaOf, bisect, strokeOf, trace } from "../plot/trace";
import type { Table } from "../protocol";
import { COUNTER, FROM_ZERO, type Info, nearest, type Reading, readingsOf } from "../telemetry";
import type { Scene } from "./draw";
import type { Writer } from "./ink";

export interface Track {
  reading: Reading;
  label: string;
  least: number;
  most: number;
}

/** What is worth a track here; the tab Telemetry has all. */
const METRICS = ["power_w", "sm_active_percent", "gpu_utilization_percent", "dram_active_percent", "memory_used_bytes"];

export function tracksOf(table: Table): Track[] {
  if (!table.rows) return [];
  const readings = readingsOf(table as Table<Info>).filter(({ times }) => times.length);
  const devices = [...new Set(readings.map(({ track }) => track.device))];
  return devices.flatMap((device) => {
    const of = METRICS.flatMap((metric) => readings.filter(({ track }) => track.device === device && track.metric === metric));
    // The counter says more than "some kernel ran".
    const counted = of.some(({ track }) => track.metric === "sm_active_percent");
    return of.filter(({ track }) => !counted || track.metric !== "gpu_utilization_percent").map((reading): Track => {
      const known = reading.values.filter((value) => value !== null);
      const most = known.reduce((a, b) => Math.max(a, b), 0) || 1;
      const least = FROM_ZERO.has(reading.track.unit) ? 0 : known.reduce((a, b) => Math.min(a, b), most);
      const label = devices.length > 1 ? `GPU ${device} ${reading.track.label}` : reading.track.label;
      return { reading, label, least, most };
    });
  });
}

/** The reading closest to a moment, in words; none far outside the readings. */
export function readAt({ reading }: Track, time: number): string {
  return quantity(nearest(reading, time), reading.track.unit);
}

/** One track, its largest reading written at the right. */
export function drawTrack(
  context: CanvasRenderingContext2D,
  writer: Writer,
  { reading: { track, times, values }, least, most }: Track,
  { viewport, ratio, colours }: Scene,
  [top, height]: [number, number],
  width: number,
): void {
  const bottom = top + height - 2 * ratio;
  const y = (value: number) => bottom - ((value - least) / (most - least || 1)) * (height - 18 * ratio);
  const first = Math.max(bisect(times, viewport.from) - 1, 0);
  const last = Math.min(bisect(times, viewport.to), times.length - 1);
  const x = (i: number) => (((times[i] as number) - viewport.from) / viewport.span) * width;
  const at = (i: number) => {
    const value = values[i];
    return value === null || value === undefined ? null : y(value);
  };
  const pieces = trace(first, last, x, at, { held: COUNTER.test(track.metric) });
  context.save();
  context.beginPath();
  context.rect(0, top, width, height);
  context.clip();
  context.strokeStyle = context.fillStyle = colours.metric(track.metric);
  context.lineWidth = 1.25 * ratio;
  context.lineJoin = "round";
  context.stroke(strokeOf(pieces));
  context.globalAlpha = 0.15;
  if (FROM_ZERO.has(track.unit)) context.fill(areaOf(pieces, bottom));
  context.restore();
  writer.over(quantity(most, track.unit), width - 4 * ratio, top + 7 * ratio, colours);
}
