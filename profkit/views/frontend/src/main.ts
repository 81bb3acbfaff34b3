// The widget: a head with tabs, and for each tab a panel that is filled when it is first opened.
import "./theme.css";
import { h } from "./dom";
import { kernels } from "./kernels";
import { kv } from "./kv";
import { Link, type Model } from "./link";
import { PageModel, pages, type Source } from "./offline";
import { overview } from "./overview";
import { type Context, fill, type Panel, type Selection } from "./panel";
import { Signal } from "./signal";
import { steps } from "./steps";
import { sweep } from "./sweep";
import { tabs } from "./tabs";
import { telemetry } from "./telemetry";
import { followTheme, type Palette } from "./theme";
import { timeline } from "./timeline/panel";

const PROFILE: readonly Panel[] = [overview, timeline, kernels, steps, kv, telemetry];

interface View {
  model: Model;
  el: HTMLElement;
}

function render(link: Link, { model, el }: View): () => void {
  const root = h("div", { class: "pk" });
  el.append(root);
  const theme = followTheme(root, model.get("_palette") as Palette);
  const context: Context = { link, theme, selection: new Signal<Selection | null>(null), open: (tab) => head.select(tab) };
  const mounted = new Map<string, () => void>();
  const ends = [link.attach(el), keepKeys(root), () => theme.dispose()];

  const panels = model.get("kind") === "sweep" ? sweep : PROFILE;
  const head = tabs(panels, (id, host) => {
    const panel = panels.find((known) => known.id === id);
    if (panel && !mounted.has(id)) mounted.set(id, fill(panel, host, context));
    remember(model, id);
  });
  root.append(
    h(
      "header",
      { class: "pk-head" },
      head.list,
      h("span", { class: "pk-title" }, h("strong", {}, String(model.get("title"))), ` ${String(model.get("subtitle"))}`),
    ),
    head.panels,
  );
  const follow = () => head.select(String(model.get("tab")));
  model.on("change:tab", follow);
  follow();
  return () => {
    model.off("change:tab", follow);
    for (const end of [...ends, ...mounted.values()]) end();
  };
}

/** The open tab is kept in the model, as long as there is a kernel to keep it. */
function remember(model: Model, tab: string): void {
  if (model.get("tab") === tab) return;
  try {
    model.set("tab", tab);
    model.save_changes();
  } catch (error) {
    console.debug("profkit: the open tab was not saved", error);
  }
}

/** JupyterLab's shortcuts for cells (arrows, Enter, letters) must not act while a key is meant for us.
 * Those with a modifier, Shift+Enter among them, stay JupyterLab's. It looks for the mark from the focused
 * element upwards and stops at the first that a shortcut is for, which is that element itself. */
function keepKeys(root: HTMLElement): () => void {
  const decide = (event: KeyboardEvent) => {
    if (!(event.target instanceof HTMLElement) || !root.contains(event.target)) return;
    const theirs = event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter");
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !theirs);
  };
  addEventListener("keydown", decide, true); // before the document's listeners, of which Lab's is one
  return () => removeEventListener("keydown", decide, true);
}

/** anywidget calls this once a model: its views share one link, and what it has loaded. */
const widget = () => {
  let link: Link | undefined;
  const shared = (model: Model) => (link ??= new Link(model));
  return {
    initialize: ({ model }: { model: Model }) => void shared(model),
    render: (view: View) => render(shared(view.model), view),
  };
};

/** Show a profile that the page itself holds; the result takes it down. */
export function mount(el: HTMLElement, source: Source): () => void {
  return widget().render({ model: new PageModel(source), el });
}

pages().forEach(([el, source]) => mount(el, source));

export default widget;
