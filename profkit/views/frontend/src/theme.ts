// Light or dark, and the colours of the moment for what is drawn on a canvas.

/** Group → name → colour, from profkit/views/palette.py: each becomes the CSS variable
 * --pk-group-name, and what is written on it --pk-on-group-name. */
export type Palette = Record<string, Record<string, { light: string; dark: string }>>;

export interface Theme {
  /** A CSS variable of the view as a colour. */
  color(variable: string): string;
  /** Called after the colours have changed; the result ends it. */
  changed(listener: () => void): () => void;
  dispose(): void;
}

/** What hosts change on <html> or <body> when the theme is switched. */
const SIGNS = ["class", "style", "theme", "data-theme", "data-jp-theme-light", "data-jp-theme-name", "data-vscode-theme-kind"];

/** What canvases are drawn with. */
const CANVAS = ["--pk-bg", "--pk-text", "--pk-muted", "--pk-line"];

/** A stylesheet may arrive a moment after the attribute that announces it. */
const SETTLED_MS = 250;

/** Keep `data-theme` of the view in step with the page around it. */
export function followTheme(root: HTMLElement, palette: Palette): Theme {
  const listeners = new Set<() => void>();
  let seen = "";

  const look = () => {
    const theme = isDark(root) ? "dark" : "light";
    if (root.dataset.theme !== theme) {
      root.dataset.theme = theme;
      paint(root, palette, theme);
    }
    const style = getComputedStyle(root);
    const now = CANVAS.map((name) => style.getPropertyValue(name)).join() + theme;
    if (now === seen) return;
    seen = now;
    for (const listener of listeners) listener();
  };
  let settling = 0;
  const lookTwice = () => {
    look();
    clearTimeout(settling);
    settling = setTimeout(look, SETTLED_MS);
  };

  const observer = new MutationObserver(lookTwice);
  for (const element of [document.documentElement, document.body]) {
    observer.observe(element, { attributes: true, attributeFilter: SIGNS });
  }
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", lookTwice);
  look();

  return {
    color: (variable) => getComputedStyle(root).getPropertyValue(variable).trim(),
    changed(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    dispose() {
      clearTimeout(settling);
      observer.disconnect();
      system.removeEventListener("change", lookTwice);
    },
  };
}

function paint(root: HTMLElement, palette: Palette, theme: "light" | "dark"): void {
  for (const [group, colours] of Object.entries(palette)) {
    for (const [name, colour] of Object.entries(colours)) {
      root.style.setProperty(`--pk-${group}-${name}`, colour[theme]);
      root.style.setProperty(`--pk-on-${group}-${name}`, legibleOn(colour[theme]));
    }
  }
}

/** Black or white, whichever has more contrast (WCAG 2.1, relative luminance) with a #rrggbb colour. */
function legibleOn(colour: string): string {
  const linear = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const [red = 0, green = 0, blue = 0] = linear;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#111" : "#fff";
}

/** JupyterLab says it; elsewhere it is seen from what lies behind the view. */
function isDark(root: HTMLElement): boolean {
  const said = document.body.dataset.jpThemeLight;
  if (said) return said === "false";
  for (let element = root.parentElement; element; element = element.parentElement) {
    const [red = 0, green = 0, blue = 0, alpha = 1] = (
      getComputedStyle(element).backgroundColor.match(/[\d.]+/g) ?? []
    ).map(Number);
    if (alpha > 0.5) return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
  }
  return matchMedia("(prefers-color-scheme: dark)").matches;
}
