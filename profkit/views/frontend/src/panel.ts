// What a tab is, and what it shows until its numbers are there, and when they do not come.
import { h } from "./dom";
import { KernelGone, type Link } from "./link";
import type { Table, What } from "./protocol";
import type { Signal } from "./signal";
import type { Theme } from "./theme";

/** A step that was clicked; `from` and `to` are its host start and its end, ns of the record. */
export interface Selection {
  row: number;
  from: number;
  to: number;
}

/** What the tabs of one view share. */
export interface Context {
  link: Link;
  theme: Theme;
  selection: Signal<Selection | null>;
  open(tab: What): void;
}

export interface Panel {
  id: What; // also the table that it shows
  label: string;
  /** Fill `host`; the result lets go of what outlives its elements. */
  build(host: HTMLElement, table: Table<never>, context: Context): () => void;
}

/** Answers within this need no sign that we wait. */
const QUICK_MS = 300;
/** After this the kernel is probably busy with another cell. */
const SLOW_MS = 4000;

const GONE =
  "The kernel that held this profile is gone. Run the cell again, or open the saved file with " +
  "profkit.load(…), to see this.";

/** Ask for the panel's table and show it; the result takes it down. */
export function fill(panel: Panel, host: HTMLElement, context: Context): () => void {
  let dispose = () => {};
  let closed = false;

  const load = async () => {
    const timers = [
      setTimeout(() => notice(host, "Loading…"), QUICK_MS),
      setTimeout(() => notice(host, "Waiting for the kernel, which may be busy with another cell."), SLOW_MS),
    ];
    try {
      const table = await context.link.get(panel.id);
      if (closed) return;
      host.replaceChildren();
      dispose = panel.build(host, table as Table<never>, context);
    } catch (error) {
      if (!closed) refuse(host, error, load);
    } finally {
      timers.forEach(clearTimeout);
    }
  };

  void load();
  return () => {
    closed = true;
    dispose();
  };
}

/** Say why there is nothing to see, and offer another try where one could help. */
export function refuse(host: HTMLElement, error: unknown, retry: () => void): void {
  if (error instanceof KernelGone) {
    notice(host, GONE);
    return;
  }
  const message = error instanceof Error ? error.message : String(error);
  notice(host, message, h("button", { class: "pk-button", type: "button", onclick: retry }, "Try again"));
}

export function notice(host: HTMLElement, text: string, ...more: Node[]): void {
  host.replaceChildren(h("div", { class: "pk-notice", role: "status" }, h("p", {}, text), ...more));
}
