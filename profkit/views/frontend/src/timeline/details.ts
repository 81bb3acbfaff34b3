// One event in words: what it is, how it was launched, what it moved.
import { swatch } from "../bars";
import { h } from "../dom";
import { count, duration, quantity, size } from "../format";
import type { Table } from "../protocol";
import { exactly } from "./axis";
import { labelOf } from "./draw";
import { durationOf, type Event, type Model, type Names, type Row, startOf } from "./model";

/** The other end of a launch. */
export interface Other {
  row: Row;
  time: number; // its start, ns
  delay: number; // from the call to the work, ns; negative where clocks disagree
  launched: boolean; // it is the work, not the call
}

export function otherOf({ tile, at, row }: Event, model: Model): Other | null {
  const other = model.rows[tile.link_row?.[at] ?? -1];
  const delay = tile.link_delay?.[at];
  if (!other || delay === undefined || Number.isNaN(delay)) return null;
  const launched = row.device < 0;
  return { row: other, time: (tile.start[at] as number) + (launched ? delay : -delay), delay, launched };
}

/** An event in a few words. */
export function wordsOf(event: Event, names: Names | null): string {
  const name = names?.short[event.tile.name[event.at] as number] ?? "";
  return `${labelOf(event.row, name, event.tile, event.at)}, ${duration(durationOf(event))}`;
}

export function groupOf(row: Row, { groups }: Model): string {
  return groups.find(({ rows }) => rows.includes(row))?.label ?? row.label;
}

export function showDetails(
  event: Event,
  model: Model,
  names: Names | null,
  attributes: Table | null,
  follow: (other: Other) => void,
): HTMLElement {
  const { tile, at, row } = event;
  const [group, kind] = model.info.classes[tile.kind[at] as number] ?? ["work", "other"];
  const full = names?.full[tile.name[at] as number] ?? "";
  const op = names?.full[tile.op?.[at] ?? -1];
  const step = row.kind === "steps" ? undefined : tile.step?.[at];
  const other = otherOf(event, model);
  const facts: (readonly [string, string | undefined])[] = [
    ["Duration", duration(durationOf(event))],
    ["Start", exactly(startOf(event))],
    ["Kind", model.info.class_labels[tile.kind[at] as number] ?? kind],
    ["Row", groupOf(row, model)],
    ["Step", step === undefined || step < 0 ? undefined : count(step)],
    ["Operator", op],
    ...attributesOf(event, attributes),
    [other?.launched ? "Work starts" : "Launch to start", other ? `${duration(other.delay)}${other.launched ? " after the call" : ""}` : undefined],
  ];
  return h(
    "section",
    { class: "pk-event" },
    h("h4", {}, swatch(`--pk-${group}-${kind}`, group === "idle"), h("bdi", {}, labelOf(row, names?.short[tile.name[at] as number] ?? "", tile, at))),
    h(
      "dl",
      {},
      ...facts.filter(([, value]) => value).map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, h("bdi", {}, value)))),
    ),
    row.kind !== "gaps" && full !== names?.short[tile.name[at] as number] && h("p", { class: "pk-full" }, h("bdi", {}, full)),
    other && h("button", { class: "pk-link", type: "button", onclick: () => follow(other) }, other.launched ? "Go to the work that it launched →" : "← Go to the call that launched it"),
  );
}

function attributesOf(event: Event, attributes: Table | null): (readonly [string, string | undefined])[] {
  const at = event.tile.attribute?.[event.at] ?? -1;
  if (!attributes || at < 0 || at >= attributes.rows) return [];
  const text = (name: string) => (attributes.has(name) ? attributes.text(name)[at] || undefined : undefined);
  const number = (name: string) => (attributes.has(name) ? absent(attributes.numbers(name)[at]) : undefined);
  const bytes = number("bytes");
  const ns = durationOf(event);
  return [
    ["Grid", text("grid")?.replaceAll(",", " × ")],
    ["Block", text("block")?.replaceAll(",", " × ")],
    ["Registers", number("registers") === undefined ? undefined : `${count(number("registers"))} per thread`],
    ["Shared memory", number("shared_memory") === undefined ? undefined : `${size(number("shared_memory"))} per block`],
    ["Moved", bytes === undefined ? undefined : size(bytes)],
    ["Bandwidth", bytes === undefined || !ns ? undefined : quantity((bytes / ns) * 1e9, "bytes/s")],
    ["Inputs", text("inputs")],
  ];
}

function absent(value: number | null | undefined): number | undefined {
  return value === null || value === undefined || value < 0 ? undefined : value;
}
