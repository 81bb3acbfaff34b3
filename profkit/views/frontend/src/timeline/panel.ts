// Timeline: every event on its row over one axis of time, with search, details and the totals of a range.
import { swatch } from "../bars";
import { h, uniqueId } from "../dom";
import { count, duration, plural } from "../format";
import { type Context, notice, type Panel } from "../panel";
import type { Table } from "../protocol";
import { showDetails, wordsOf } from "./details";
import { type Event, type Info, type Long, type Model, modelOf, namesOf } from "./model";
import { Search } from "./search";
import { showTotals, totalsOf } from "./totals";
import { tracksOf } from "./tracks";
import { type Listener, TimelineView } from "./view";

const HINT = "Drag to pan, Ctrl + wheel to zoom (the wheel alone once you have clicked the timeline), Shift + drag to measure a range.";
const KEYS =
  "W and S zoom, A and D pan (arrow keys too), Home shows everything. Up and down select an event of the row above or below, comma and full stop " +
  "the one before or after it; Enter or a double click zooms to it, L goes to the other end of its launch. M measures what is in sight. F finds the next match, Shift + F the one before. " +
  "Escape lets go; Tab leaves the timeline.";
/** Words and totals follow what moves after so long: a page that is laid out each frame stutters. */
const SETTLED_MS = 120;

export const timeline: Panel = {
  id: "timeline",
  label: "Timeline",
  build(host, table: Table<Info>, context) {
    const model = modelOf(table);
    if (!model.rows.length) {
      notice(host, `Nothing to draw${model.info.reason ? `: ${model.info.reason}` : "."}`);
      return () => {};
    }
    const panel = new TimelinePanel(host, model, context);
    return () => panel.view.dispose();
  },
};

class TimelinePanel implements Listener {
  readonly view: TimelineView;
  readonly #model: Model;
  readonly #context: Context;
  readonly #sight = h("span", { class: "pk-status" });
  readonly #found = h("span", { class: "pk-hint", role: "status" });
  readonly #status = h("p", { class: "pk-hint pk-now", role: "status" });
  readonly #missing = h("p", { class: "pk-hint", role: "status", hidden: true });
  readonly #range = h("section", { hidden: true });
  readonly #details = h("div", {});
  #attributes: Table | null = null;
  #text = "";
  #measured = 0; // ranges so far: only the last is shown
  #settling = 0;
  #moving = 0;

  constructor(host: HTMLElement, model: Model, context: Context) {
    this.#model = model;
    this.#context = context;
    const hint = uniqueId();
    this.view = new TimelineView(model, context, this, hint);
    host.append(
      h("div", { class: "pk-toolbar" }, ...this.#searchBox(), ...this.#jumps(), this.#found, this.#sight),
      this.view.el,
      h("div", { class: "pk-key" }, ...legendOf(model)),
      this.#missing,
      this.#status,
      this.#range,
      this.#details,
      h("p", { class: "pk-hint", id: hint }, HINT),
      h("details", { class: "pk-hint" }, h("summary", {}, "Keys"), KEYS),
      ...model.info.left_out.map((text) => h("p", { class: "pk-hint" }, text)),
    );
    void this.#fill();
  }

  /** What the first frame can do without, most needed first. */
  async #fill(): Promise<void> {
    const { link } = this.#context;
    const missed = (error: unknown) => this.#miss(error);
    const got = [
      link.get("names").then((table) => {
        this.view.names = namesOf(table);
        this.#search();
        this.selected(this.view.selected);
      }, missed),
      ...Array.from({ length: this.#model.info.levels }, (_, i) =>
        link.get("strips", { level: i + 1 }).then((table) => this.view.level(i + 1, table), missed),
      ),
      link.get("telemetry").then((table) => (this.view.tracks = tracksOf(table)), missed),
      link.get("attributes").then((table) => {
        this.#attributes = table;
        this.selected(this.view.selected);
      }, missed),
    ];
    await Promise.all(got);
  }

  // Above the rows

  #searchBox(): HTMLElement[] {
    const box = h("input", {
      class: "pk-filter",
      type: "search",
      placeholder: "Find by name",
      "aria-label": "Find events by name. Enter goes to the next, Shift+Enter to the one before.",
      oninput: () => {
        this.#text = box.value.trim();
        this.#search();
      },
      onkeydown: (event: KeyboardEvent) => {
        if (event.key !== "Enter") return;
        event.preventDefault();
        event.stopPropagation();
        this.view.match(event.shiftKey ? -1 : 1);
      },
    });
    const step = (by: 1 | -1, label: string, sign: string) =>
      h("button", { type: "button", title: label, "aria-label": label, onclick: () => this.view.match(by) }, sign);
    const steps = h("div", { class: "pk-segments" }, step(-1, "Previous match", "‹"), step(1, "Next match", "›"));
    return [box, steps];
  }

  #search(): void {
    const { names } = this.view;
    const search = this.#text && names ? new Search(names, this.#text) : null;
    this.view.search = search;
    this.#found.textContent = !search
      ? ""
      : search.count
        ? `${count(search.count)} × ${plural(search.names, "name")}, ${duration(search.total)}`
        : "not found";
  }

  #jumps(): HTMLElement[] {
    const jump = (label: string, what: string, all: readonly Long[]) => {
      let next = 0;
      return h(
        "button",
        {
          type: "button",
          disabled: !all.length,
          title: `${label}; again for the next`,
          onclick: () => {
            const at = next++ % all.length;
            void this.view.goTo(all[at] as Long).then(
              () => this.view.selected && this.#say(`${what} ${at + 1} of the ${all.length} longest`, this.view.selected),
              () => {},
            );
          },
        },
        label,
      );
    };
    const { gaps, kernels } = this.#model.info.longest;
    const whole = h("button", { type: "button", onclick: () => this.view.whole() }, "Whole");
    return [h("div", { class: "pk-segments" }, whole, jump("Longest gap", "Gap", gaps), jump("Longest kernel", "Kernel", kernels))];
  }

  // What the rows tell

  moved(): void {
    this.#moving ||= setTimeout(() => {
      this.#moving = 0;
      this.#sight.textContent = this.view.words;
    }, SETTLED_MS);
  }

  told(): void {
    const { tiles } = this.view;
    if (tiles.error) this.#miss(tiles.error);
    else this.#missing.hidden = true;
  }

  /** One line for all that does not come any more. */
  #miss(error: unknown): void {
    const { tiles } = this.view;
    const retry = () => {
      this.#missing.hidden = true;
      tiles.retry();
      void this.#fill();
    };
    const here = `${count(tiles.held)} of ${plural(this.#model.info.tiles.length, "part")} of the detail are here`;
    this.#missing.replaceChildren(
      tiles.gone || !(error instanceof Error && error.message)
        ? `The kernel that held this profile is gone: ${here}, the rest cannot be fetched.`
        : `${error.message} (${here}) `,
      ...(tiles.gone ? [] : [h("button", { class: "pk-link", type: "button", onclick: retry }, "Try again")]),
    );
    this.#missing.hidden = false;
  }

  selected(event: Event | null): void {
    const { names } = this.view;
    this.#status.textContent = "";
    if (event) {
      this.#say("Selected", event);
      const follow = (other: Parameters<TimelineView["goToOther"]>[0]) => void this.view.goToOther(other).catch(() => {});
      this.#details.replaceChildren(showDetails(event, this.#model, names, this.#attributes, follow));
    } else this.#details.replaceChildren();
  }

  #say(what: string, event: Event): void {
    this.#status.textContent = `${what}: ${wordsOf(event, this.view.names)}`;
  }

  ranged(range: readonly [number, number] | null, done: boolean): void {
    this.#measured++;
    clearTimeout(this.#settling);
    this.#range.hidden = !range;
    if (range) this.#settling = setTimeout(() => void this.#total(range), done ? 0 : SETTLED_MS);
  }

  async #total(range: readonly [number, number]): Promise<void> {
    const { view } = this;
    const { names } = view;
    const mine = this.#measured;
    const head = h(
      "h4",
      { class: "pk-range" },
      h("span", {}, `Range of ${duration(range[1] - range[0])} from ${duration(range[0])}`),
      h("button", { class: "pk-link", type: "button", onclick: () => (view.viewport.show(...range, 0), view.draw()) }, "Zoom to it"),
      h("button", { class: "pk-link", type: "button", onclick: () => (view.range = null) }, "Clear"),
    );
    const show = (...content: Node[]) => this.#range.replaceChildren(head, ...content);
    if (!names) return show(h("p", { class: "pk-hint" }, "The names of events have not come yet."));
    const late = setTimeout(() => show(h("p", { class: "pk-hint" }, "Adding up…")), SETTLED_MS);
    try {
      const totals = await totalsOf(this.#model, view.tiles, names, range, () => mine === this.#measured);
      if (totals && mine === this.#measured) show(...totals.map((total) => showTotals(total, this.#model, names)));
    } catch {
      if (mine === this.#measured) show(h("p", { class: "pk-hint" }, "Not all events of this range are here: no totals."));
    } finally {
      clearTimeout(late);
    }
  }
}

/** The classes that occur, with their colours. */
function legendOf({ info, strips }: Model): HTMLElement[] {
  const seen = new Set<number>();
  for (let at = 0; at < strips.length; at += 2) if (strips[at + 1]) seen.add(strips[at] as number);
  return info.classes.flatMap(([group, name], kind) =>
    seen.has(kind) ? [h("span", {}, swatch(`--pk-${group}-${name}`, group === "idle"), info.class_labels[kind])] : [],
  );
}
