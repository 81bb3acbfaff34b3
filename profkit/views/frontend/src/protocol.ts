// What widget and browser say to each other. profkit/views/widgets/protocol.py is the same in Python,
// with the description of the bytes.

export type What = "overview" | "kernels" | "steps" | "telemetry";
export type Options = Record<string, string | number | boolean>;

/** From browser to kernel. A ping says nothing: that it can be sent is what we want to know. */
export type Message =
  | { kind: "get"; id: string; what: What; [option: string]: Options[string] }
  | { kind: "select"; what: "step"; row: number | null }
  | { kind: "ping" };

export type DType = "int64" | "int32" | "float64" | "string";
export interface ColumnSpec {
  name: string;
  dtype: DType;
  unit: string;
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

type Values = BigInt64Array | Int32Array | Float64Array | string[];

/** A reply: columns of one length, and small plain data beside them. */
export class Table<Info = unknown> {
  readonly rows: number;
  readonly info: Info;
  readonly #columns = new Map<string, Values>();

  constructor(data: Data, buffers: readonly DataView[]) {
    this.rows = data.rows;
    this.info = data.info as Info;
    data.columns.forEach(({ name, dtype }, i) => {
      const buffer = buffers[i];
      if (!buffer) throw new Error(`column ${name} has no buffer`);
      this.#columns.set(name, decode(dtype, buffer, data.rows));
    });
  }

  has(name: string): boolean {
    return this.#columns.has(name);
  }

  text(name: string): string[] {
    const values = this.#values(name);
    if (!Array.isArray(values)) throw new Error(`column ${name} is not text`);
    return values;
  }

  /** As numbers, absent ones null. int64 loses what is beyond 2^53: times go through `since`. */
  numbers(name: string): (number | null)[] {
    const values = this.#values(name);
    if (Array.isArray(values)) throw new Error(`column ${name} is text`);
    if (values instanceof BigInt64Array) return Array.from(values, (v) => (v === NULL ? null : Number(v)));
    if (values instanceof Int32Array) return Array.from(values, (v) => (v === NULL32 ? null : v));
    return Array.from(values, (v) => (Number.isNaN(v) ? null : v));
  }

  int64(name: string): BigInt64Array {
    const values = this.#values(name);
    if (!(values instanceof BigInt64Array)) throw new Error(`column ${name} is not int64`);
    return values;
  }

  /** Times less a base: only the difference becomes a float, so no nanosecond is lost before it. */
  since(name: string, base: bigint): (number | null)[] {
    return Array.from(this.int64(name), (v) => (v === NULL ? null : Number(v - base)));
  }

  #values(name: string): Values {
    const values = this.#columns.get(name);
    if (!values) throw new Error(`no column ${name} in the reply`);
    return values;
  }
}

function decode(dtype: DType, view: DataView, rows: number): Values {
  // A message's buffers lie anywhere in one block; typed arrays want theirs aligned.
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer;
  switch (dtype) {
    case "int64":
      return new BigInt64Array(bytes);
    case "int32":
      return new Int32Array(bytes);
    case "float64":
      return new Float64Array(bytes);
    case "string": {
      const offsets = new Uint32Array(bytes, 0, rows + 1);
      const text = new Uint8Array(bytes, 4 * (rows + 1));
      const utf8 = new TextDecoder();
      return Array.from({ length: rows }, (_, i) => utf8.decode(text.subarray(offsets[i], offsets[i + 1])));
    }
  }
}
