// Mouse, wheel and keys on the canvas. The wheel is the page's until the canvas has the focus.

/** What a hand can ask for; places are CSS pixels from the canvas's corner. */
export interface Actions {
  zoom(factor: number, x: number | null, smoothly?: boolean): void; // null: at the middle
  pan(pixels: number, smoothly?: boolean): void;
  scroll(pixels: number): void;
  hover(at: { x: number; y: number } | null): void;
  click(x: number, y: number): void;
  open(x: number, y: number): void; // a double click
  measure(from: number, to: number, done: boolean): void;
  measureAll(): void; // what is in sight
  whole(): void;
  beside(by: 1 | -1): void; // the next event of the row
  row(by: 1 | -1): void;
  enter(): void; // zoom to what is selected
  follow(): void; // to the other end of the launch
  match(by: 1 | -1): void;
  escape(): boolean; // whether there was something to let go of
}

const CLICK_PX = 4; // a press that moves further is a drag
const LINE_PX = 16;
const KEY_ZOOM = 0.7;
const KEY_PX = 160;
const WHEEL = 0.0022;

export function listen(canvas: HTMLCanvasElement, actions: Actions): void {
  let press: { x: number; y: number; startX: number; moved: boolean; measure: boolean } | null = null;

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    press = { x: event.offsetX, y: event.offsetY, startX: event.offsetX, moved: false, measure: event.shiftKey };
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    const { offsetX: x, offsetY: y } = event;
    if (!press) {
      actions.hover({ x, y });
      return;
    }
    if (!press.moved && Math.hypot(x - press.x, y - press.y) < CLICK_PX) return;
    press.moved = true;
    actions.hover(null);
    canvas.classList.add("pk-dragging");
    if (press.measure) actions.measure(press.startX, x, false);
    else {
      actions.pan(press.x - x);
      actions.scroll(press.y - y);
    }
    press.x = x;
    press.y = y;
  });
  const release = (event: PointerEvent, meant: boolean) => {
    const ended = press;
    press = null;
    canvas.classList.remove("pk-dragging");
    if (!ended || !meant) return;
    if (ended.moved && ended.measure) actions.measure(ended.startX, event.offsetX, true);
    else if (!ended.moved) actions.click(event.offsetX, event.offsetY);
  };
  canvas.addEventListener("pointerup", (event) => release(event, true));
  canvas.addEventListener("pointercancel", (event) => release(event, false));
  canvas.addEventListener("pointerleave", () => actions.hover(null));
  canvas.addEventListener("dblclick", (event) => actions.open(event.offsetX, event.offsetY));

  canvas.addEventListener(
    "wheel",
    (event) => {
      const unit = event.deltaMode ? LINE_PX : 1;
      const sideways = event.shiftKey ? event.deltaY || event.deltaX : Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : 0;
      const ours = event.ctrlKey || event.metaKey || document.activeElement === canvas || deepFocus(canvas);
      if (!ours && !sideways) return;
      event.preventDefault();
      if (sideways && !event.ctrlKey) actions.pan(sideways * unit);
      else actions.zoom(Math.exp(Math.max(Math.min(event.deltaY * unit, 240), -240) * WHEEL), event.offsetX);
    },
    { passive: false },
  );

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!keys(event, actions)) return;
    event.preventDefault();
    event.stopPropagation();
  });
}

/** In a shadow tree the document only knows the host. */
function deepFocus(canvas: HTMLCanvasElement): boolean {
  return (canvas.getRootNode() as Document | ShadowRoot).activeElement === canvas;
}

/** Whether the key means something here: Tab does not, so that it leads out again. */
function keys({ key, shiftKey }: KeyboardEvent, actions: Actions): boolean {
  switch (key.length === 1 ? key.toLowerCase() : key) {
    case "w":
    case "+":
    case "=":
      actions.zoom(KEY_ZOOM, null, true);
      return true;
    case "s":
    case "-":
      actions.zoom(1 / KEY_ZOOM, null, true);
      return true;
    case "a":
    case "ArrowLeft":
      actions.pan(-KEY_PX, true);
      return true;
    case "d":
    case "ArrowRight":
      actions.pan(KEY_PX, true);
      return true;
    case "ArrowUp":
      actions.row(-1);
      return true;
    case "ArrowDown":
      actions.row(1);
      return true;
    case ",":
    case "<":
      actions.beside(-1);
      return true;
    case ".":
    case ">":
      actions.beside(1);
      return true;
    case "Home":
    case "0":
      actions.whole();
      return true;
    case "Enter":
      if (!shiftKey) actions.enter();
      return !shiftKey;
    case "m":
      actions.measureAll();
      return true;
    case "l":
      actions.follow();
      return true;
    case "f":
      actions.match(shiftKey ? -1 : 1);
      return true;
    case "Escape":
      return actions.escape();
    default:
      return false;
  }
}
