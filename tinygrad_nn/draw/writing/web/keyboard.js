"use strict";
// Everything by keyboard.

function listen({ canvas, view, steps, go, isOn }) {
  const typing = (target) =>
    target.closest?.("input:not([type=checkbox]):not([type=range]), textarea, select, dialog");
  const anywhere = {
    "/": () => go.search(),
    "?": () => go.help(),
    "[": () => steps.step(-1),
    "]": () => steps.step(1),
    f: () => go.foldAll(),
    o: () => go.openAll(),
    "+": () => view.zoomAt(1.25, undefined, undefined, true),
    "=": () => view.zoomAt(1.25, undefined, undefined, true),
    "-": () => view.zoomAt(0.8, undefined, undefined, true),
    0: () => view.fit(),
  };
  const moves = {
    ArrowLeft: [80, 0],
    ArrowRight: [-80, 0],
    ArrowUp: [0, 80],
    ArrowDown: [0, -80],
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.key === "Escape") {
      if (!event.target.closest("dialog")) go.escape();
      return;
    }
    if (typing(event.target) || !isOn()) return;
    if (event.target.type === "range" && /^[-+=0]$/.test(event.key)) return;
    const action = anywhere[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const item = event.target.closest("[role=button]");
    if (item && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      go.activate(item);
    } else if (event.key in moves) {
      event.preventDefault();
      if (item) go.walk(item, event.key);
      else view.pan(...moves[event.key], true);
    }
  });
}
