// The names at the left of the rows: a group's is a button that folds it, a track's shows what it reads.
import { swatch } from "../bars";
import { h } from "../dom";
import { AXIS, type Layout } from "./layout";
import type { Group } from "./model";

export class Gutter {
  readonly #base = h("div", { class: "pk-base" });
  readonly #labels = h("div", {});
  readonly el = h("div", { class: "pk-gutter" }, h("div", { class: "pk-names" }, this.#labels), this.#base);
  readonly #toggled: (group: Group) => void;
  #outputs: HTMLElement[] = [];
  #scroll = 0;

  constructor(toggled: (group: Group) => void) {
    this.#toggled = toggled;
    this.el.style.setProperty("--pk-axis", `${AXIS}px`);
  }

  fill({ lines }: Layout, folded: ReadonlySet<Group>): void {
    const focused = this.el.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset.group : undefined;
    this.#outputs = [];
    const labels = lines.flatMap(({ y, height, group, track, label }, i): HTMLElement[] => {
      const place = { "--pk-y": `${y}px`, "--pk-line-height": `${height}px`, title: label };
      if (track) {
        const output = h("output", {});
        this.#outputs.push(output);
        return [h("div", { ...place, class: "pk-row-name pk-track-name" }, swatch(`--pk-metric-${track.reading.track.metric}`), h("span", {}, label), output)];
      }
      if (!group) return [];
      const name = h("bdi", {}, label);
      if (group.rows.length < 2) return [h("div", { ...place, class: "pk-row-name" }, name)];
      const toggle = () => this.#toggled(group);
      const open = String(!folded.has(group));
      return [h("button", { ...place, class: "pk-row-name", type: "button", "aria-expanded": open, "data-group": i, onclick: toggle }, name)];
    });
    this.#labels.replaceChildren(...labels);
    if (focused !== undefined) this.#labels.querySelector<HTMLElement>(`[data-group="${focused}"]`)?.focus();
  }

  /** Each frame: what has not changed is left alone, or the page would be laid out again. */
  place(scroll: number, base: string): void {
    if (scroll !== this.#scroll) this.#labels.style.transform = `translateY(${-scroll}px)`;
    if (base !== this.#base.textContent) this.#base.textContent = base;
    this.#scroll = scroll;
  }

  /** What the tracks read under the cursor. */
  read(values: readonly string[] | null): void {
    this.#outputs.forEach((output, i) => (output.textContent = values?.[i] ?? ""));
  }
}
