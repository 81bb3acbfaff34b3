// The line to the kernel: asks for tables, remembers them, and notices when nobody answers any more.
import { type Message, type Options, type Reply, Table, UNASKED, type What } from "./protocol";

/** The part of anywidget's model that we use. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown): void;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

/** The kernel has shut down or restarted: what it held for this view is gone. */
export class KernelGone extends Error {}

/** ipywidgets puts this class on the element of every widget whose kernel is gone. */
const DISCONNECTED = "jupyter-widgets-disconnected";

/** While an answer is due: how often to try whether the line still stands. A kernel that is shut down
 * sends no event, but writing to it throws. */
const PING_MS = 2000;

interface Pending {
  resolve(table: Table): void;
  reject(error: Error): void;
}

export class Link {
  readonly #model: Model;
  readonly #prefix = Math.random().toString(36).slice(2, 10);
  readonly #pending = new Map<string, Pending>();
  readonly #tables = new Map<string, Promise<Table>>();
  readonly #views = new Set<HTMLElement>();
  #count = 0;
  #closed = false;
  #pinging = 0;

  constructor(model: Model) {
    this.#model = model;
    model.on("msg:custom", (reply: Reply, buffers?: DataView[]) => this.#receive(reply, buffers ?? []));
    model.on("comm:close", () => this.#hangUp());
    // The class is set by a listener to the same event, which may come after this one.
    model.on("comm_live_update", () => setTimeout(() => this.#gone() && this.#rejectAll()));
  }

  /** Watch the element of a view for ipywidgets' mark; the result stops it. */
  attach(el: HTMLElement): () => void {
    this.#views.add(el);
    return () => this.#views.delete(el);
  }

  /** A table, asked for once and kept: it outlives the kernel. A failed request may be tried again. */
  get(what: What, options: Options = {}): Promise<Table> {
    const key = keyOf(what, options);
    let table = this.#tables.get(key);
    if (!table) {
      table = this.ask(what, options);
      this.#keep(key, table);
    }
    return table;
  }

  /** A table that the caller keeps, or does without. */
  ask(what: What, options: Options = {}): Promise<Table> {
    const id = `${this.#prefix}-${this.#count++}`;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#send({ ...options, kind: "get", id, what });
      if (this.#pending.size && !this.#pinging) {
        this.#pinging = setInterval(() => this.#ping(), PING_MS);
      }
    });
  }

  select(row: number | null): void {
    this.#send({ kind: "select", what: "step", row });
  }

  #keep(key: string, table: Promise<Table>): void {
    this.#tables.set(key, table);
    table.catch(() => this.#tables.delete(key));
  }

  #send(message: Message): void {
    if (!this.#gone()) {
      try {
        this.#model.send(message);
        return;
      } catch {
        this.#closed = true; // The comm or its kernel is disposed of.
      }
    }
    this.#rejectAll();
  }

  #ping(): void {
    if (this.#pending.size) {
      this.#send({ kind: "ping" });
    } else {
      clearInterval(this.#pinging);
      this.#pinging = 0;
    }
  }

  #receive(reply: Reply, buffers: readonly DataView[]): void {
    const pending = this.#pending.get(reply.id);
    const unasked = reply.id === UNASKED;
    if (!pending && !unasked) return; // another view's, or one that we gave up
    this.#pending.delete(reply.id);
    if (reply.kind === "error") {
      pending?.reject(new Error(reply.message));
      return;
    }
    const table = Table.read(reply, buffers);
    if (unasked) this.#keep(keyOf(reply.what, {}), table);
    else table.then(pending?.resolve, pending?.reject);
  }

  #gone(): boolean {
    return this.#closed || [...this.#views].some((el) => el.closest(`.${DISCONNECTED}`));
  }

  #hangUp(): void {
    this.#closed = true;
    this.#rejectAll();
  }

  #rejectAll(): void {
    for (const { reject } of this.#pending.values()) reject(new KernelGone());
    this.#pending.clear();
  }
}

/** How a request is known: the same for the kernel's replies and for those that lie in a page. */
export function keyOf(what: What, options: Options): string {
  return JSON.stringify([what, options]);
}
