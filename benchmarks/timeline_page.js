// In the page of benchmarks/timeline.py: notes what is painted when, and works the view as a hand would.
window.marks = [];
addEventListener("pk-painted", (event) => {
  marks.push({ kind: "painted", t: performance.now(), ...event.detail });
});
addEventListener("DOMContentLoaded", () => {
  const seen = new WeakSet();
  new MutationObserver(() => {
    for (const summary of document.querySelectorAll(".jp-OutputArea .pk-s")) {
      if (seen.has(summary)) continue;
      seen.add(summary);
      marks.push({ kind: "summary", t: performance.now() });
    }
  }).observe(document.body, { childList: true, subtree: true });
});

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
let panel, canvas;

/** The last view is the one that is worked; it is in sight. */
window.choose = async () => {
  canvas = [...document.querySelectorAll(".pk-timeline-canvas")].at(-1);
  panel = canvas.closest(".pk");
  canvas.scrollIntoView({ block: "center" });
  canvas.focus({ preventScroll: true });
  await frame();
  await frame();
};

function wheel(deltaY, shiftKey) {
  const box = canvas.getBoundingClientRect();
  const at = { clientX: box.x + box.width * 0.4, clientY: box.y + box.height / 2 };
  canvas.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY, shiftKey, bubbles: true, cancelable: true }));
}

/** Half a second in, half a second along, half a second out, and so on: each frame moves. */
window.frames = async (ms) => {
  const from = marks.length;
  const times = [await frame()];
  for (let i = 0; times.at(-1) - times[0] < ms; i++) {
    const phase = Math.floor(i / 30) % 3;
    if (phase === 1) wheel(24, true);
    else wheel(phase ? 90 : -90, false);
    times.push(await frame());
  }
  return {
    frames: times.slice(1).map((time, i) => time - times[i]),
    scripts: marks.slice(from).map((mark) => mark.script_ms),
  };
};

/** Until a frame is painted for which `good` holds; the time since `began`. */
function painted(began, good) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("it was not painted")), 20000);
    const listen = (event) => {
      if (!good(event.detail)) return;
      clearTimeout(timer);
      removeEventListener("pk-painted", listen);
      resolve(performance.now() - began);
    };
    addEventListener("pk-painted", listen);
  });
}

/** To another of the longest kernels: from the click to a frame with all its detail. */
window.jump = async () => {
  const whole = [...panel.querySelectorAll("button")].find((button) => button.textContent === "Whole");
  whole.click();
  await new Promise((resolve) => setTimeout(resolve, 800));
  const button = [...panel.querySelectorAll("button")].find((one) => one.textContent === "Longest kernel");
  const last = marks.at(-1);
  const span = last.to - last.from;
  const began = performance.now();
  const there = painted(began, (detail) => !detail.pending && detail.to - detail.from < span / 100);
  button.click();
  return there;
};

/** From a letter typed to the line that says how many were found. */
window.search = async (text) => {
  const box = panel.querySelector("input[type=search]");
  const before = panel.textContent;
  const began = performance.now();
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
  while (panel.textContent === before) await frame();
  await frame();
  return performance.now() - began;
};

/** From a click on an event to its details; the rows are tried from the top. */
window.clicked = async () => {
  const box = canvas.getBoundingClientRect();
  const details = () => panel.querySelector(".pk-event")?.textContent;
  for (let y = 30; y < box.height; y += 9) {
    for (let x = 0.2; x < 0.9; x += 0.1) {
      const before = details();
      const at = { clientX: box.x + box.width * x, clientY: box.y + y, pointerId: 1, bubbles: true, cancelable: true };
      const began = performance.now();
      canvas.dispatchEvent(new PointerEvent("pointermove", at));
      canvas.setPointerCapture = () => {};
      canvas.dispatchEvent(new PointerEvent("pointerdown", at));
      canvas.dispatchEvent(new PointerEvent("pointerup", at));
      for (let i = 0; i < 3 && details() === before; i++) await frame();
      if (details() && details() !== before) {
        await frame();
        return performance.now() - began;
      }
    }
  }
  throw new Error("no click found an event");
};
