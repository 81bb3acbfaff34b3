// The timeline itself: what is selected, where it is, and a frame whenever something has changed.
import { h } from "../dom";
import { duration } from "../format";
import type { Context, Selection } from "../panel";
import { followSize } from "../plot/canvas";
import { bisect } from "../plot/trace";
import type { Table } from "../protocol";
import { type Other, otherOf, wordsOf } from "./details";
import { Painter, type Scene } from "./draw";
import { Gutter } from "./gutter";
import { type Actions, listen } from "./input";
import { coloursOf } from "./ink";
import { AXIS, layoutOf, type Line, lineAt, lineOf } from "./layout";
import { durationOf, endOf, type Event, type Group, type Long, type Model, type Names, type Row, startOf } from "./model";
import { Search } from "./search";
import { Strips } from "./strips";
import { Tiles } from "./tiles";
import { readAt, type Track } from "./tracks";
import { Viewport } from "./viewport";

/** What the panel around the canvas hears. */
export interface Listener {
  moved(): void;
  selected(event: Event | null): void;
  ranged(range: readonly [number, number] | null, done: boolean): void;
  told(): void; // tiles have come, or do not
}

/** The rows scroll beyond this, CSS pixels. */
const MOST_HEIGHT = 560;
const NEAR_PX = 3;
/** A row's tiles are fetched ahead of the others where no more of them are in sight. */
const FEW = 2;

export class TimelineView implements Actions {
  readonly el: HTMLElement;
  readonly canvas: HTMLCanvasElement;
  readonly model: Model;
  readonly tiles: Tiles;
  readonly viewport: Viewport;
  readonly #strips: Strips;
  readonly #context: Context;
  readonly #listener: Listener;
  readonly #painter: Painter;
  readonly #gutter: Gutter;
  readonly #scroll: HTMLElement;
  readonly #room: HTMLElement;
  readonly #tip = h("div", { class: "pk-tip", hidden: true });
  readonly #hair = h("div", { class: "pk-hair", hidden: true });
  readonly #folded = new Set<Group>();
  readonly #stops: (() => void)[] = [];
  #tracks: Track[] = [];
  #scene: Scene;
  #frame = 0;
  #painted = 0;

  constructor(model: Model, context: Context, listener: Listener, hint: string) {
    this.model = model;
    this.#context = context;
    this.#listener = listener;
    this.tiles = new Tiles(context.link, model, () => (this.draw(), listener.told()));
    this.viewport = new Viewport(model.info.range);
    this.#strips = new Strips(model, this.tiles);
    this.canvas = h("canvas", {
      class: "pk-timeline-canvas",
      tabindex: 0,
      role: "application",
      "aria-label": "Timeline",
      "aria-describedby": hint,
    });
    this.#painter = new Painter(this.canvas);
    this.#gutter = new Gutter((group) => this.#fold(group));
    const plot = h("div", { class: "pk-plot" }, this.canvas, this.#hair, this.#tip);
    this.#room = h("div", {}, h("div", { class: "pk-rows" }, this.#gutter.el, plot));
    this.#scroll = h("div", { class: "pk-timeline", onscroll: () => this.draw() }, this.#room);
    this.el = this.#scroll;
    this.#foldAtFirst();
    this.#scene = {
      viewport: this.viewport,
      layout: layoutOf(model.groups, this.#folded, []),
      scroll: 0,
      ratio: 1,
      colours: coloursOf(context.theme, [], "", 1),
      strips: this.#strips,
      tiles: this.tiles,
      names: null,
      selected: null,
      other: null,
      range: null,
      step: null,
      search: null,
    };
    this.#arrange();
    listen(this.canvas, this);
    this.#stops.push(
      followSize(this.canvas, (ratio) => this.#fit(ratio)),
      () => cancelAnimationFrame(this.#frame),
      () => this.tiles.dispose(),
      context.theme.changed(() => (this.#colour(), this.draw())),
      context.selection.subscribe((step) => this.#step(step, true)),
    );
    this.#step(context.selection.value, true);
  }

  dispose(): void {
    for (const stop of this.#stops) stop();
  }

  set names(names: Names) {
    this.#scene.names = names;
    this.draw();
  }

  get names(): Names | null {
    return this.#scene.names;
  }

  set tracks(tracks: Track[]) {
    this.#tracks = tracks;
    this.#arrange();
  }

  set search(search: Search | null) {
    this.#scene.search = search;
    this.draw();
  }

  level(level: number, table: Table): void {
    this.#strips.add(level, table.values("strips") as Uint8Array);
    this.draw();
  }

  get selected(): Event | null {
    return this.#scene.selected;
  }

  // Frames

  draw(): void {
    this.#frame ||= requestAnimationFrame((now) => this.#paint(now));
  }

  #paint(now: number): void {
    this.#frame = 0;
    if (!this.canvas.width || !this.canvas.clientWidth) return;
    const began = performance.now();
    const moving = this.viewport.advance(now);
    const scene = this.#scene;
    scene.scroll = this.#scroll.scrollTop;
    const pending = this.tiles.want(this.#wanted());
    const { base, blank } = this.#painter.paint(scene);
    this.#gutter.place(scene.scroll, base);
    if (moving || this.#strips.late) this.draw();
    const detail = {
      first: !this.#painted++,
      blank,
      pending,
      from: this.viewport.from,
      to: this.viewport.to,
      script_ms: performance.now() - began,
    };
    this.el.parentElement?.dispatchEvent(new CustomEvent("pk-painted", { detail, bubbles: true }));
    this.#listener.moved();
  }

  /** Tiles that this frame could use: those of rows that few of them fill, where no strips are fine enough. */
  #wanted(): number[] {
    const { from, to, span } = this.viewport;
    const deep = this.#strips.level(span / this.canvas.width) > this.model.info.levels;
    const { scroll, layout } = this.#scene;
    const bottom = scroll + this.canvas.clientHeight - AXIS;
    return layout.lines
      .filter((line) => line.y < bottom && line.y + line.height > scroll)
      .flatMap((line) => line.rows.map((row) => this.tiles.between(row, from, to)))
      .filter((tiles) => deep || tiles.length <= FEW)
      .flat();
  }

  #fit(ratio: number): void {
    this.#scene.ratio = ratio;
    this.#colour();
    this.#paint(performance.now()); // a canvas of a new size is empty
  }

  #colour(): void {
    const font = getComputedStyle(this.canvas).fontFamily;
    this.#scene.colours = coloursOf(this.#context.theme, this.model.info.classes, font, this.#scene.ratio);
  }

  // Rows

  #foldAtFirst(): void {
    const tall = () => layoutOf(this.model.groups, this.#folded, []).height > MOST_HEIGHT;
    const hosts = this.model.groups.filter(({ rows }) => rows.length > 1 && (rows[0]?.device ?? -1) < 0);
    for (const group of hosts.toReversed()) if (tall() && group !== hosts[0]) this.#folded.add(group);
  }

  #fold(group: Group): void {
    if (!this.#folded.delete(group)) this.#folded.add(group);
    this.#arrange();
  }

  #arrange(): void {
    const layout = layoutOf(this.model.groups, this.#folded, this.#tracks);
    this.#scene.layout = layout;
    this.#gutter.fill(layout, this.#folded);
    this.#room.style.height = `${layout.height + AXIS}px`;
    this.#scroll.style.setProperty("--pk-height", `${Math.min(layout.height + AXIS, MOST_HEIGHT)}px`);
    this.draw();
  }

  // Where things are

  #time(x: number): number {
    return this.viewport.from + (x / (this.canvas.clientWidth || 1)) * this.viewport.span;
  }

  #line(y: number): Line | undefined {
    return y < AXIS ? undefined : lineAt(this.#scene.layout, y - AXIS + this.#scroll.scrollTop);
  }

  /** The event under a place, or the nearest within a few pixels, as far as its tile is here. */
  #hit(x: number, y: number): Event | null {
    const time = this.#time(x);
    const near = (NEAR_PX / (this.canvas.clientWidth || 1)) * this.viewport.span;
    let best: Event | null = null;
    let distance = Infinity;
    for (const row of this.#line(y)?.rows ?? []) {
      for (const index of this.tiles.between(row, time - near, time + near)) {
        const tile = this.tiles.get(index);
        if (!tile) continue;
        const after = bisect(tile.start, time);
        for (const at of [after - 1, after]) {
          if (at < 0 || at >= tile.start.length) continue;
          const away = Math.max((tile.start[at] as number) - time, time - endOf(tile, at), 0);
          if (away <= near && away < distance) {
            best = { row, tile, at };
            distance = away;
          }
        }
      }
    }
    return best;
  }

  /** The event of a row that starts at a time, or the last before it, or else the first. */
  async find(row: Row, start: number, duration?: number): Promise<Event | null> {
    const index = row.tiles.findLast((some) => this.tiles.range(some)[0] <= start) ?? row.tiles[0];
    if (index === undefined) return null;
    const tile = await this.tiles.load(index);
    let at = Math.max(bisect(tile.start, start) - 1, 0);
    while (duration !== undefined && at > 0 && tile.duration[at] !== duration && tile.start[at - 1] === start) at--;
    return { row, tile, at };
  }

  // Selection

  select(event: Event | null): void {
    const scene = this.#scene;
    scene.selected = event;
    scene.other = event && otherOf(event, this.model);
    const step = event?.row.kind === "steps" ? event.tile.event?.[event.at] : undefined;
    if (event && step !== undefined && step >= 0) {
      const selection = { row: step, from: startOf(event), to: endOf(event.tile, event.at) };
      this.#step(selection, false);
      this.#context.selection.value = selection;
      this.#context.link.select(step);
    }
    this.#listener.selected(event);
    this.draw();
  }

  #step(step: Selection | null, follow: boolean): void {
    if (this.#scene.step?.row === step?.row && step) return;
    this.#scene.step = step;
    if (step && follow) this.viewport.show(step.from, step.to);
    this.draw();
  }

  /** Select an event and bring it into sight: its row, and its time. */
  reveal(event: Event): void {
    if (!lineOf(this.#scene.layout, event.row)) return;
    const group = this.model.groups.find(({ rows }) => rows.includes(event.row));
    if (group && this.#folded.has(group) && group.rows.length > 1) this.#fold(group);
    const line = lineOf(this.#scene.layout, event.row) as Line;
    const { scrollTop, clientHeight } = this.#scroll;
    if (line.y < scrollTop || line.y + line.height > scrollTop + clientHeight - AXIS) {
      this.#scroll.scrollTop = line.y - (clientHeight - AXIS - line.height) / 2;
    }
    const [from, to] = this.viewport.goal;
    const [start, end] = [startOf(event), endOf(event.tile, event.at)];
    if (end < from || start > to) this.viewport.go(start - (to - from) / 2, start + (to - from) / 2, true);
    this.select(event);
  }

  async goTo({ row, start, duration: ns }: Long): Promise<void> {
    this.viewport.show(start, start + ns, 1);
    this.draw();
    const event = await this.find(this.model.rows[row] as Row, start, ns);
    if (event) this.reveal(event);
  }

  async goToOther(other: Other): Promise<void> {
    const here = this.selected;
    const event = await this.find(other.row, other.time);
    if (!event || startOf(event) !== other.time) return;
    const [from, to] = this.viewport.goal;
    if (here && (other.time < from || other.time > to)) {
      const times = [startOf(here), endOf(here.tile, here.at), other.time, endOf(event.tile, event.at)];
      this.viewport.show(Math.min(...times), Math.max(...times), 0.2);
    }
    this.reveal(event);
  }

  set range(range: readonly [number, number] | null) {
    this.#scene.range = range;
    this.#listener.ranged(range, true);
    this.draw();
  }

  get range(): readonly [number, number] | null {
    return this.#scene.range;
  }

  // Actions

  zoom(factor: number, x: number | null, smoothly = false): void {
    const [from, to] = this.viewport.goal;
    this.#move(() => this.viewport.zoom(factor, x === null ? (from + to) / 2 : this.#time(x), smoothly));
  }

  pan(pixels: number, smoothly = false): void {
    this.#move(() => this.viewport.pan((pixels / this.canvas.clientWidth) * this.viewport.span, smoothly));
  }

  #move(how: () => void): void {
    this.tiles.touch();
    how();
    this.hover(null);
    this.draw();
  }

  scroll(pixels: number): void {
    this.#scroll.scrollTop += pixels;
  }

  hover(place: { x: number; y: number } | null): void {
    if (!place && this.#hair.hidden) return;
    this.#hair.hidden = !place;
    const line = place && this.#line(place.y);
    const event = place && line ? this.#hit(place.x, place.y) : null;
    const time = place ? this.#time(place.x) : 0;
    this.#tip.hidden = !event && !line?.track;
    this.#gutter.read(place && this.#tracks.map((track) => readAt(track, time)));
    if (!place) return;
    this.#hair.style.transform = `translateX(${place.x}px)`;
    if (line?.track) this.#tip.textContent = `${line.track.label}: ${readAt(line.track, time)}`;
    if (event) this.#tip.textContent = wordsOf(event, this.names);
    if (this.#tip.hidden) return;
    const { clientWidth, clientHeight } = this.canvas;
    const { offsetWidth, offsetHeight } = this.#tip;
    const left = place.x + 14 + offsetWidth > clientWidth ? place.x - 14 - offsetWidth : place.x + 14;
    const top = place.y + 18 + offsetHeight > clientHeight ? place.y - 10 - offsetHeight : place.y + 18;
    this.#tip.style.transform = `translate(${Math.max(left, 0)}px, ${top}px)`;
  }

  click(x: number, y: number): void {
    const event = this.#hit(x, y);
    if (event || this.selected) this.select(event);
    const time = this.#time(x);
    const missing = event ? [] : (this.#line(y)?.rows ?? []).flatMap((row) => this.tiles.between(row, time, time));
    const away = missing.filter((index) => !this.tiles.get(index));
    if (away.length) void Promise.all(away.map((index) => this.tiles.load(index))).then(() => this.click(x, y), () => {});
  }

  open(x: number, y: number): void {
    const event = this.#hit(x, y);
    if (event) this.viewport.show(startOf(event), endOf(event.tile, event.at), 0.3);
    this.draw();
  }

  measure(from: number, to: number, done: boolean): void {
    const [first, last] = this.viewport.whole;
    const times = [from, to].map((x) => Math.min(Math.max(Math.round(this.#time(x)), first), last)).sort((a, b) => a - b);
    this.#scene.range = times as [number, number];
    this.#listener.ranged(this.#scene.range, done);
    this.draw();
  }

  measureAll(): void {
    this.range = this.viewport.goal.map(Math.round) as [number, number];
  }

  whole(): void {
    this.#move(() => this.viewport.go(...this.viewport.whole, true));
  }

  beside(by: 1 | -1): void {
    const selected = this.selected;
    if (!selected) return this.row(1);
    const { row, tile, at } = selected;
    if (tile.start[at + by] !== undefined) return this.reveal({ row, tile, at: at + by });
    const index = row.tiles[row.tiles.indexOf(tile.index) + by];
    if (index === undefined) return;
    void this.tiles.load(index).then((next) => this.reveal({ row, tile: next, at: by > 0 ? 0 : next.start.length - 1 }), () => {});
  }

  row(by: 1 | -1): void {
    const rows = this.#scene.layout.lines.flatMap((line) => line.rows.slice(0, 1)).filter(({ tiles }) => tiles.length);
    const selected = this.selected;
    const here = selected ? rows.findIndex((row) => lineOf(this.#scene.layout, selected.row)?.rows.includes(row)) : by > 0 ? -1 : rows.length;
    const row = rows[here + by];
    const [from, to] = this.viewport.goal;
    const time = selected ? startOf(selected) + durationOf(selected) / 2 : (from + to) / 2;
    if (row) void this.find(row, Math.min(Math.max(time, from), to)).then((event) => event && this.reveal(event), () => {});
  }

  enter(): void {
    const event = this.selected;
    if (event) this.viewport.show(startOf(event), endOf(event.tile, event.at), 0.3);
    this.draw();
  }

  follow(): void {
    const other = this.selected && otherOf(this.selected, this.model);
    if (other) void this.goToOther(other).catch(() => {});
  }

  match(by: 1 | -1): void {
    const { search, selected } = this.#scene;
    if (!search) return;
    const [from, to] = this.viewport.goal;
    const inside = selected && endOf(selected.tile, selected.at) >= from && startOf(selected) <= to;
    const [first, last] = this.viewport.whole;
    const next = (at: Event | number) => search.next(this.model, this.tiles, at, by);
    void next(inside ? selected : by > 0 ? from : to)
      .then((found) => found ?? next(by > 0 ? first : last))
      .then((found) => found && this.reveal(found), () => {});
  }

  escape(): boolean {
    if (this.range) this.range = null;
    else if (this.selected) this.select(null);
    else this.canvas.blur();
    return true;
  }

  /** The range in sight, in words. */
  get words(): string {
    const { span, from, whole } = this.viewport;
    const all = duration(whole[1] - whole[0]);
    return span < whole[1] - whole[0] ? `${duration(span)} of ${all}, from ${duration(Math.max(from, 0))}` : `all ${all}`;
  }
}
