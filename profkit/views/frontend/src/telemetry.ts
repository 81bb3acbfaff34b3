// Telemetry: what the GPU's sensors read while the cell ran, one track per unit over one time axis.
import { Curve, type Line } from "./curve";
import { h, uniqueId } from "./dom";
import { quantity } from "./format";
import { legend } from "./legend";
import { notice, type Panel, type Selection } from "./panel";
import type { Table } from "./protocol";
import type { Theme } from "./theme";

export interface Track {
  metric: string;
  label: string;
  unit: string;
  device: number;
}
export interface Info {
  tracks: Track[];
  wall_ns: number;
  clock_reasons: string[];
  reason: string | null;
}
export interface Reading {
  track: Track;
  times: number[]; // ns of the record
  values: (number | null)[];
}

/** Units whose readings mean something against zero; the others are read by their changes. */
export const FROM_ZERO = new Set(["W", "%", "bytes", "bytes/s"]);

/** Hardware counters tell of the time before a reading, not of its moment. */
export const COUNTER = /_active_|_occupancy_|_per_s$/;

export const telemetry: Panel = {
  id: "telemetry",
  label: "Telemetry",
  build(host, table: Table<Info>, context) {
    const { tracks, clock_reasons: reasons, reason } = table.info;
    if (!tracks.length) {
      notice(host, `No telemetry in this profile${reason ? `: ${reason}` : "."}`);
      return () => {};
    }
    const readings = readingsOf(table);
    const range: [number, number] = [0, table.info.wall_ns];
    for (const time of readings.flatMap((reading) => reading.times)) {
      range[0] = Math.min(range[0], time);
      range[1] = Math.max(range[1], time);
    }
    const devices = [...new Set(tracks.map((track) => track.device))];
    const plots = h("div", { class: "pk-tracks" });
    let curves: Curve[] = [];

    const mark = (selection: Selection | null) => {
      curves.forEach((curve, i) => {
        const label = i ? "" : `step ${selection?.row}`; // said once, at the top
        curve.setSpans(selection ? [{ from: selection.from, to: selection.to, label }] : []);
      });
    };
    const show = (device: number) => {
      for (const curve of curves) curve.dispose();
      curves = [];
      const sync = uniqueId();
      const units = groupBy(readings.filter(({ track }) => track.device === device), ({ track }) => track.unit);
      const zoom = (range: readonly [number, number] | null) => curves.forEach((curve) => curve.zoom(range));
      const rows = units.map((group, i) => {
        const { el, curve } = plotOf(group, { range, sync, first: i === 0, last: i === units.length - 1, zoom }, context.theme);
        curves.push(curve);
        return el;
      });
      plots.replaceChildren(...rows);
      mark(context.selection.value);
    };

    if (devices.length > 1) host.append(h("div", { class: "pk-toolbar" }, chooser(devices, show)));
    host.append(plots);
    if (reasons.length) host.append(h("p", { class: "pk-hint" }, `Clocks were held back: ${reasons.join(" · ")}`));
    host.append(h("p", { class: "pk-hint" }, "Drag to zoom, double-click to zoom out."));
    show(devices[0] ?? 0);
    const stop = context.selection.subscribe(mark);
    return () => {
      stop();
      for (const curve of curves) curve.dispose();
    };
  },
};

function chooser(devices: readonly number[], show: (device: number) => void): HTMLElement {
  const buttons = devices.map((device, i) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(i === 0),
        onclick: (event: MouseEvent) => {
          for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.currentTarget));
          show(device);
        },
      },
      `GPU ${device}`,
    ),
  );
  return h("div", { class: "pk-segments", role: "group", "aria-label": "GPU" }, ...buttons);
}

interface Place {
  range: readonly [number, number]; // of all tracks
  sync: string;
  first: boolean; // carries the name of the selected step
  last: boolean; // carries the time axis
  zoom(range: readonly [number, number] | null): void;
}

/** The readings of one unit: names and values at the left, curves at the right. */
function plotOf(readings: readonly Reading[], place: Place, theme: Theme): { el: HTMLElement; curve: Curve } {
  const times = [...new Set(readings.flatMap((reading) => reading.times))].sort((a, b) => a - b);
  const unit = readings[0]?.track.unit ?? "";
  const lines = readings.map((reading) => lineOf(reading, times, readings.length === 1));
  const names = readings.map(({ track }) => track.label).join(", ");
  const at = (time: number) => readings.map((reading) => quantity(nearest(reading, time), unit));
  const read = (index: number | null) => {
    const time = index === null ? undefined : times[index];
    key.read(time === undefined ? [] : at(time));
  };
  const curve = new Curve(
    {
      name: `${names} over time. Arrow keys move along the readings.`,
      height: (readings.length > 2 ? 116 : 72) + (place.last ? 26 : 0) + (place.first ? 10 : 0),
      unit,
      x: { values: times, unit: "ns", range: place.range, axis: place.last },
      lines,
      ...(place.first ? { spans: [] } : {}),
      fromZero: FROM_ZERO.has(unit),
      sync: place.sync,
      describe: (index) => at(times[index] ?? 0).join(", "),
      onHover: read,
      onZoom: place.zoom,
    },
    theme,
  );
  const key = legend(lines, (line, shown) => curve.show(line, shown));
  return { el: h("div", { class: "pk-track" }, key.el, curve.el), curve };
}

function lineOf({ track, times, values }: Reading, all: readonly number[], alone: boolean): Line {
  const known = new Map(times.map((time, i) => [time, values[i] ?? null]));
  return {
    label: track.label,
    color: `--pk-metric-${track.metric}`,
    values: all.map((time) => known.get(time) ?? null),
    shape: COUNTER.test(track.metric) ? "steps" : "line",
    fill: alone && FROM_ZERO.has(track.unit),
    connect: true, // the others were read at other times
  };
}

/** The reading closest to a moment. */
export function nearest({ times, values }: Reading, time: number): number | null {
  let low = 0;
  let high = times.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? 0) <= time) low = middle;
    else high = middle;
  }
  const at = Math.abs((times[low] ?? 0) - time) <= Math.abs((times[high] ?? 0) - time) ? low : high;
  return values[at] ?? null;
}

export function readingsOf(table: Table<Info>): Reading[] {
  const readings = table.info.tracks.map((track): Reading => ({ track, times: [], values: [] }));
  const track = table.numbers("track");
  const values = table.numbers("value");
  table.since("time", 0n).forEach((time, i) => {
    const reading = readings[track[i] ?? -1];
    reading?.times.push(time ?? 0);
    reading?.values.push(values[i] ?? null);
  });
  return readings;
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return [...groups.values()];
}
