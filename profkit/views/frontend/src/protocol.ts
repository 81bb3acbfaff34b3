// What widget and browser say to each other. profkit/views/widgets/protocol.py is the same in Python,
// with the description of the bytes.

export type What =
  | "overview" | "kernels" | "timeline" | "steps" | "kv" | "telemetry" | "strips" | "names" | "attributes" | "tile"
  | "curves" | "pareto" | "points"; // of a sweep
export type Options = Record<string, string | number | boolean>;

/** From browser to kernel. A ping says nothing: that it can be sent is what we want to know. */
export type Message =
  | { kind: "get"; id: string; what: What; [option: string]: Options[string] }
  | { kind: "select"; what: "step"; row: number | null }
  | { kind: "ping" };

export type DType = "int64" | "int32" | "uint32" | "uint8" | "float64" | "string";
export interface ColumnSpec {
  name: string;
  dtype: DType;
  unit: string;
  encoding?: "deflate" | "shuffle-deflate"; // none: the bytes as they are
  length?: number; // none: one value per row
}
export interface Data {
  kind: "data";
  id: string;
  what: What;
  rows: number;
  columns: ColumnSpec[];
  info: unknown;
}
export interface Failure {
  kind: "error";
  id: string;
  message: string;
}
export type Reply = Data | Failure;

/** The id of a table that comes without having been asked for. */
export const UNASKED = "";

/** An absent int64, an absent int32. */
const NULL = -(2n ** 63n);
const NULL32 = -(2 ** 31);

export type Values = BigInt64Array | Int32Array | Uint32Array | Uint8Array | Float64Array | string[];

/** A reply: columns of one length, unless they say otherwise, and small plain data beside them. */
export class Table<Info = unknown> {
  readonly rows: number;
  readonly info: Info;
  readonly #columns: ReadonlyMap<string, Values>;

  private constructor(data: Data, columns: ReadonlyMap<string, Values>) {
    this.rows = data.rows;
    this.info = data.info as Info;
    this.#columns = columns;
  }

  /** Decode a reply; its packed columns inflate meanwhile. */
  static async read(data: Data, buffers: readonly DataView[]): Promise<Table> {
    const columns = data.columns.map(async (spec, i): Promise<[string, Values]> => {
      const buffer = buffers[i];
      if (!buffer) throw new Error(`column ${spec.name} has no buffer`);
      return [spec.name, decode(spec.dtype, await unpacked(spec, buffer), spec.length ?? data.rows)];
    });
    return new Table(data, new Map(await Promise.all(columns)));
  }

  has(name: string): boolean {
    return this.#columns.has(name);
  }

  text(name: string): string[] {
    const values = this.values(name);
    if (!Array.isArray(values)) throw new Error(`column ${name} is not text`);
    return values;
  }

  /** As numbers, absent ones null. int64 loses what is beyond 2^53: times go through `since`. */
  numbers(name: string): (number | null)[] {
    const values = this.values(name);
    if (Array.isArray(values)) throw new Error(`column ${name} is text`);
    if (values instanceof BigInt64Array) return Array.from(values, (v) => (v === NULL ? null : Number(v)));
    if (values instanceof Int32Array) return Array.from(values, (v) => (v === NULL32 ? null : v));
    return Array.from(values, (v) => (Number.isNaN(v) ? null : v));
  }

  int64(name: string): BigInt64Array {
    const values = this.values(name);
    if (!(values instanceof BigInt64Array)) throw new Error(`column ${name} is not int64`);
    return values;
  }

  /** Times less a base: only the difference becomes a float, so no nanosecond is lost before it. */
  since(name: string, base: bigint): (number | null)[] {
    return Array.from(this.int64(name), (v) => (v === NULL ? null : Number(v - base)));
  }

  /** A column as it came, absent values as they travel. */
  values(name: string): Values {
    const values = this.#columns.get(name);
    if (!values) throw new Error(`no column ${name} in the reply`);
    return values;
  }
}

function decode(dtype: DType, bytes: ArrayBuffer, count: number): Values {
  switch (dtype) {
    case "int64":
      return new BigInt64Array(bytes);
    case "int32":
      return new Int32Array(bytes);
    case "uint32":
      return new Uint32Array(bytes);
    case "uint8":
      return new Uint8Array(bytes);
    case "float64":
      return new Float64Array(bytes);
    case "string": {
      const offsets = new Uint32Array(bytes, 0, count + 1);
      const text = new Uint8Array(bytes, 4 * (count + 1));
      const utf8 = new TextDecoder();
      return Array.from({ length: count }, (_, i) => utf8.decode(text.subarray(offsets[i], offsets[i + 1])));
    }
  }
}

/** The bytes of a column in a block of their own: a message's buffers lie anywhere in one, and typed
 * arrays want theirs aligned. */
async function unpacked({ dtype, encoding }: ColumnSpec, view: DataView): Promise<ArrayBuffer> {
  const packed = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer;
  if (!encoding) return packed;
  const bytes = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const width = { int64: 8, float64: 8, int32: 4, uint32: 4, uint8: 1, string: 1 }[dtype];
  return encoding === "deflate" || width === 1 ? bytes : unshuffled(new Uint8Array(bytes), width);
}

/** The low bytes of all values came first, then their second bytes, and so on: it packs better. */
function unshuffled(planes: Uint8Array, width: number): ArrayBuffer {
  if (planes.length % width) throw new Error("a column of the reply is cut off");
  const bytes = new Uint8Array(planes.length);
  for (let at = 0, plane = 0; plane < width; plane++) {
    for (let to = plane; to < bytes.length; to += width) bytes[to] = planes[at++] as number;
  }
  return bytes.buffer;
}
