// What lies where from top to bottom: a line per row, or one for a whole group that is folded; tracks below.
import type { Group, Row, RowKind } from "./model";
import type { Track } from "./tracks";

/** Heights in CSS pixels. */
const HEIGHT: Record<RowKind, number> = { steps: 20, regions: 18, gaps: 16, gpu: 22, host: 18, python: 16 };
const TRACK_HEIGHT = 38;
const BETWEEN = 6; // groups
export const AXIS = 26;

export interface Line {
  y: number; // CSS pixels from the top of all lines
  height: number;
  rows: readonly Row[]; // several: a folded group
  track?: Track; // telemetry instead
  group?: Group; // on the first line of one
  label: string;
  rule: boolean; // a line above it
}

export interface Layout {
  lines: Line[];
  height: number;
}

export function layoutOf(groups: readonly Group[], folded: ReadonlySet<Group>, tracks: readonly Track[]): Layout {
  const lines: Line[] = [];
  let y = 0;
  const add = (line: Omit<Line, "y">) => {
    if (line.rule && lines.length) y += BETWEEN;
    lines.push({ ...line, y });
    y += line.height;
  };
  let kind = "";
  for (const group of groups) {
    const first = group.rows[0] as Row;
    // Groups of one kind and device belong together: rules part what is of different kinds.
    const now = `${first.kind === "gaps" ? "gpu" : first.kind} ${group.device}`;
    const rule = now !== kind || first.kind === "host";
    kind = now;
    const stacks = folded.has(group) ? [group.rows] : group.rows.map((row) => [row]);
    stacks.forEach((rows, i) => {
      const label = i ? "" : group.label;
      add({ height: HEIGHT[first.kind], rows, label, rule: rule && !i, ...(i ? {} : { group }) });
    });
  }
  tracks.forEach((track, i) => add({ height: TRACK_HEIGHT, rows: [], track, label: track.label, rule: !i }));
  return { lines, height: y };
}

/** The line at a height, if there is one. */
export function lineAt({ lines }: Layout, y: number): Line | undefined {
  return lines.find((line) => y >= line.y && y < line.y + line.height);
}

export function lineOf({ lines }: Layout, row: Row): Line | undefined {
  return lines.find((line) => line.rows.includes(row));
}
