// A page that holds its profile: a stand-in for anywidget's model answers from replies that lie in the page.
import { keyOf, type Model } from "./link";
import type { Data, Message, What } from "./protocol";

/** What profkit/views/page.py puts into the page as JSON. */
export interface Source {
  traits: Record<string, unknown>;
  replies: { key: string; content: Omit<Data, "id">; buffers: string[] }[]; // base64
}

const CLASS = "profkit-page";

type Callback = (...args: unknown[]) => void;

export class PageModel implements Model {
  readonly #traits: Record<string, unknown>;
  readonly #replies: ReadonlyMap<string, Source["replies"][number]>;
  readonly #listeners = new Map<string, Set<Callback>>();

  constructor(source: Source) {
    this.#traits = { ...source.traits };
    this.#replies = new Map(source.replies.map((reply) => [reply.key, reply]));
  }

  get(name: string): unknown {
    return this.#traits[name];
  }

  set(name: string, value: unknown): void {
    this.#traits[name] = value;
    this.#tell(`change:${name}`);
  }

  save_changes(): void {}

  /** Requests are answered as the kernel would, later; what is selected stays in the page. */
  send(content: unknown): void {
    const message = content as Message;
    if (message.kind !== "get") return;
    const { kind: _, id, what, ...options } = message;
    const reply = this.#replies.get(keyOf(what as What, options as Record<string, string>));
    queueMicrotask(() => {
      if (reply) this.#tell("msg:custom", { ...reply.content, id }, reply.buffers.map(bytesOf));
      else this.#tell("msg:custom", { kind: "error", id, message: "This page does not hold that: it is in the notebook, or in the saved profile." });
    });
  }

  on(event: string, callback: (...args: never[]) => void): void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(callback as Callback));
  }

  off(event: string, callback: (...args: never[]) => void): void {
    this.#listeners.get(event)?.delete(callback as Callback);
  }

  #tell(event: string, ...args: unknown[]): void {
    for (const callback of this.#listeners.get(event) ?? []) callback(...args);
  }
}

/** The profiles of this page, each with an element that is put after it. In a notebook there are none. */
export function pages(): [HTMLElement, Source][] {
  return [...document.querySelectorAll<HTMLElement>(`script.${CLASS}`)].map((script) => {
    const el = document.createElement("div");
    script.after(el);
    return [el, JSON.parse(script.textContent ?? "") as Source];
  });
}

function bytesOf(base64: string): DataView {
  return new DataView(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
}
