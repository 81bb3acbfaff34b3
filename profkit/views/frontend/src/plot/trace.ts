// The path of a curve, no finer than the pixels that it crosses.

type Point = [x: number, y: number];

export interface Shape {
  held?: boolean; // a value holds for the time up to it
  connect?: boolean; // draw on over absent values
}

/** The first place of what is larger than `value` in something sorted. */
export function bisect(values: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as number) <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The unbroken pieces of a curve through points `from` to `to`; `y` is null where there is nothing to draw. Points that
 * share a column of pixels become one stroke from the lowest to the highest. */
export function trace(from: number, to: number, x: (i: number) => number, y: (i: number) => number | null, shape: Shape): Point[][] {
  const pieces: Point[][] = [];
  let column: { x: number; low: number; high: number } | null = null;
  const flush = () => {
    if (column && column.low !== column.high) pieces.at(-1)?.push([column.x, column.low], [column.x, column.high]);
  };
  for (let i = from; i <= to; i++) {
    const height = y(i);
    const at = x(i);
    if (height === null) {
      if (shape.connect) continue;
      flush();
      column = null;
    } else if (column && Math.round(column.x) === Math.round(at)) {
      column.low = Math.min(column.low, height);
      column.high = Math.max(column.high, height);
    } else {
      flush();
      if (!column) pieces.push([]);
      const piece = pieces.at(-1) as Point[];
      if (column && shape.held) piece.push([column.x, height]);
      piece.push([at, height]);
      column = { x: at, low: height, high: height };
    }
  }
  flush();
  return pieces;
}

export function strokeOf(pieces: readonly Point[][]): Path2D {
  const path = new Path2D();
  for (const piece of pieces) piece.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
  return path;
}

/** What lies between the pieces and a height. */
export function areaOf(pieces: readonly Point[][], bottom: number): Path2D {
  const path = new Path2D();
  for (const piece of pieces) {
    const [first, last] = [piece[0] as Point, piece.at(-1) as Point];
    path.moveTo(first[0], bottom);
    for (const [x, y] of piece) path.lineTo(x, y);
    path.lineTo(last[0], bottom);
  }
  return path;
}
