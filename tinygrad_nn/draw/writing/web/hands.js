"use strict";
// Zooming and panning with a mouse, a pen or fingers.

function listenToHands(canvas, view) {
  const touching = new Map();
  let dragged = false;
  const position = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const spread = () => {
    const [a, b] = [...touching.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, d: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
  };
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      const { x, y } = position(event);
      view.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), x, y);
    },
    { passive: false },
  );
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (!touching.size) dragged = false;
    touching.set(event.pointerId, position(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) touching.delete(event.pointerId); // let go of outside the window
    const last = touching.get(event.pointerId);
    if (!last) return;
    const now = position(event);
    if (touching.size === 2) {
      const was = spread();
      touching.set(event.pointerId, now);
      const is = spread();
      view.pan(is.x - was.x, is.y - was.y);
      view.zoomAt(is.d / was.d, is.x, is.y);
      dragged = true;
    } else if (touching.size === 1) {
      if (!dragged && Math.hypot(now.x - last.x, now.y - last.y) < 4) return;
      if (!dragged) canvas.setPointerCapture(event.pointerId);
      dragged = true;
      view.pan(now.x - last.x, now.y - last.y);
      touching.set(event.pointerId, now);
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => touching.delete(event.pointerId));
  }
  canvas.addEventListener(
    "click",
    (event) => {
      if (dragged) event.stopPropagation(); // the end of a drag is no click
      dragged = false;
    },
    true,
  );
}
