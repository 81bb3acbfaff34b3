// What is to be drawn: rows in groups, classes and names, from the replies of profkit/views/widgets/timeline.py.
import { bisect } from "../plot/trace";
import type { Table } from "../protocol";

export type RowKind = "steps" | "regions" | "gaps" | "gpu" | "host" | "python";

/** One line of events that do not overlap. */
export interface Row {
  index: number;
  kind: RowKind;
  label: string;
  device: number; // -1: the host
  count: number; // events
  tiles: number[];
}

/** Rows that are drawn under one name, the first at the top. */
export interface Group {
  label: string;
  device: number;
  rows: Row[];
}

export interface Long {
  row: number;
  start: number;
  duration: number;
}

export interface Info {
  range: [number, number]; // ns of the record
  bins: number;
  levels: number;
  classes: [group: string, name: string][]; // each a colour of the palette
  class_labels: string[];
  groups: { label: string; device: number }[];
  tiles: [from: number, to: number, count: number][];
  longest: { gaps: Long[]; kernels: Long[] };
  left_out: string[];
  wall_ns: number;
  reason?: string | null; // why there is nothing
}

export interface Model {
  info: Info;
  rows: Row[];
  groups: Group[];
  strips: Uint8Array;
}

export function modelOf(table: Table<Info>): Model {
  const { info } = table;
  const groups: Group[] = info.groups.map(({ label, device }) => ({ label, device, rows: [] }));
  const column = (name: string) => table.values(name) as Int32Array;
  const [group, device, count, first, tiles] = ["group", "device", "count", "first_tile", "tiles"].map(column) as [
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  const kinds = table.text("kind");
  const rows = table.text("label").map((label, index): Row => {
    const row: Row = {
      index,
      kind: kinds[index] as RowKind,
      label,
      device: device[index] ?? -1,
      count: count[index] ?? 0,
      tiles: Array.from({ length: tiles[index] ?? 0 }, (_, i) => (first[index] ?? 0) + i),
    };
    groups[group[index] ?? -1]?.rows.push(row);
    return row;
  });
  return { info, rows, groups: groups.filter((some) => some.rows.length), strips: table.values("strips") as Uint8Array };
}

/** The names of events; an event has the index of one. */
export interface Names {
  full: string[];
  short: string[];
  count: (number | null)[];
  total: (number | null)[]; // ns
  kind: Int32Array; // index of a class
}

export function namesOf(table: Table): Names {
  return {
    full: table.text("name"),
    short: table.text("short"),
    count: table.numbers("count"),
    total: table.numbers("total_ns"),
    kind: table.values("class") as Int32Array,
  };
}

/** One event of a row. */
export interface Event {
  row: Row;
  tile: Tile;
  at: number; // index in the tile
}

/** The events of a stretch of one row, in order; times are ns of the record. Columns that the row has no use for
 * are left out. */
export interface Tile {
  index: number;
  start: Float64Array;
  duration: Uint32Array | Float64Array;
  name: Int32Array;
  kind: Uint8Array; // index of a class
  longest: Float64Array; // duration of each CHUNK of events
  event?: Int32Array;
  step?: Int32Array;
  attribute?: Int32Array;
  op?: Int32Array;
  link_row?: Int32Array;
  link_delay?: Float64Array;
  bytes: number;
}

export const CHUNK = 64;

interface TileInfo {
  index: number;
  base: string;
  long: [at: number, ns: string][];
}

/** Only here do times that may not fit a float meet it: the base is exact, as Python has checked. */
export function tileOf(table: Table): Tile {
  const info = table.info as TileInfo;
  const since = table.values("start") as Uint32Array;
  let duration = table.values("duration") as Uint32Array | Float64Array;
  if (info.long.length) {
    duration = Float64Array.from(duration);
    for (const [at, ns] of info.long) duration[at] = Number(BigInt(ns));
  }
  const start = new Float64Array(since.length);
  const longest = new Float64Array(Math.ceil(since.length / CHUNK));
  let time = Number(BigInt(info.base));
  for (let i = 0; i < start.length; i++) {
    start[i] = time += since[i] as number;
    const chunk = Math.floor(i / CHUNK);
    if ((duration[i] as number) > (longest[chunk] as number)) longest[chunk] = duration[i] as number;
  }
  const tile: Tile = {
    index: info.index,
    start,
    duration,
    name: table.values("name") as Int32Array,
    kind: table.values("class") as Uint8Array,
    longest,
    bytes: 0,
  };
  for (const name of ["event", "step", "attribute", "op", "link_row"] as const) {
    if (table.has(name)) tile[name] = table.values(name) as Int32Array;
  }
  if (table.has("link_delay")) tile.link_delay = table.values("link_delay") as Float64Array;
  for (const values of Object.values(tile)) if (ArrayBuffer.isView(values)) tile.bytes += values.byteLength;
  if (duration.length !== start.length) throw new Error(`tile ${info.index} is cut off`);
  return tile;
}

/** The first event that is not over at `time`. */
export function open(tile: Tile, time: number): number {
  const at = bisect(tile.start, time);
  return at && endOf(tile, at - 1) >= time ? at - 1 : at;
}

export function startOf({ tile, at }: Event): number {
  return tile.start[at] as number;
}

export function durationOf({ tile, at }: Event): number {
  return tile.duration[at] as number;
}

export function endOf(tile: Tile, at: number): number {
  return (tile.start[at] as number) + (tile.duration[at] as number);
}
