// A canvas that is as fine as the screen it is on.

/** Finer than this costs time and cannot be seen. */
const MOST_RATIO = 3;

/** Keep the pixels of a canvas in step with its place on the page. `resized` is given how many of them make a CSS
 * pixel, each time after the canvas was emptied by that; the result ends it. A canvas out of sight has no size. */
export function followSize(canvas: HTMLCanvasElement, resized: (ratio: number) => void): () => void {
  const observer = new ResizeObserver(([entry]) => {
    const { clientWidth, clientHeight } = canvas;
    if (!clientWidth) return;
    const ratio = Math.min(devicePixelRatio, MOST_RATIO);
    const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
    // The browser knows to the pixel how large the box is; one that emulates another screen tells of its own.
    const exact = entry?.devicePixelContentBoxSize?.[0];
    const near = exact && Math.abs(exact.inlineSize - width) <= 2 && Math.abs(exact.blockSize - height) <= 2;
    canvas.width = near ? exact.inlineSize : width;
    canvas.height = near ? exact.blockSize : height;
    resized(canvas.width / clientWidth);
  });
  try {
    observer.observe(canvas, { box: "device-pixel-content-box" });
  } catch {
    observer.observe(canvas); // Safari tells CSS pixels only
  }
  return () => observer.disconnect();
}
