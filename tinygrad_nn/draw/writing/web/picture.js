"use strict";
// What Graphviz has drawn, made fit for a page: boxes and titles that can be chosen, and text that
// stays in its box.

const SVG = "http://www.w3.org/2000/svg";

/** Read Graphviz' SVG. Returns its drawing, the size, and by how much the drawing is shifted. */
function readPicture(source) {
  const root = new DOMParser().parseFromString(source, "image/svg+xml").documentElement;
  const drawing = root.querySelector("g.graph");
  if (!drawing) throw new Error("Graphviz returned no picture");
  const [, , width, height] = root.getAttribute("viewBox").split(/\s+/).map(Number);
  const shift = /translate\(([-\d.e]+)[ ,]+([-\d.e]+)\)/.exec(drawing.getAttribute("transform"));
  tidy(drawing);
  return { drawing, size: { width, height }, dx: Number(shift[1]), dy: Number(shift[2]) };
}

/**
 * Make buttons of the boxes and titles of a drawing that stands in the page. `describe` gives each
 * a name for those who hear the page. Returns the place of each by its key.
 */
function preparePicture({ drawing, dx, dy }, describe) {
  fitFont(drawing);
  const [nodes, clusters] = [".node", ".cluster"].map((kind) => [
    ...drawing.querySelectorAll(kind),
  ]);
  // All is measured before anything is changed: each change would cost a layout.
  const places = new Map();
  for (const element of [...nodes, ...clusters]) {
    const { x, y, width, height } = element.getBBox();
    places.set(element.id, { x: x + dx, y: y + dy, width, height });
  }
  const tight = nodes.flatMap(tooWide);
  const titles = clusters.map((element) => element.querySelector("text")?.getBBox());
  for (const [text, room] of tight) squeeze(text, room);
  for (const element of nodes) button(element, describe(element.id));
  clusters.forEach((element, i) => titles[i] && handle(element, titles[i], describe(element.id)));
  return places;
}

function tidy(drawing) {
  for (const title of drawing.querySelectorAll("title")) title.remove();
  for (const link of drawing.querySelectorAll("a")) link.parentNode.replaceWith(...link.childNodes);
  drawing.querySelector(":scope > polygon")?.remove(); // the paper
  drawing.removeAttribute("id");
}

function button(element, label) {
  element.setAttribute("role", "button");
  element.setAttribute("tabindex", "-1");
  element.setAttribute("aria-label", label);
  shapeOf(element).classList.add("shape");
  rows(element);
}

/** Mark the rows of figures: the last texts "value" and "grad" begin them. */
function rows(element) {
  const texts = [...element.querySelectorAll("text")];
  const words = texts.map((text) => text.textContent);
  const grad = words.lastIndexOf("grad");
  const value = words.lastIndexOf("value", grad < 0 ? undefined : grad);
  texts.forEach((text, i) => {
    if (grad >= 0 && i >= grad) text.classList.add("grad");
    else if (value >= 0 && i >= value) text.classList.add("value");
  });
}

/** A cluster is opened and folded by its title. */
function handle(element, box, name) {
  const made = document.createElementNS(SVG, "g");
  const area = document.createElementNS(SVG, "rect");
  for (const [name, value] of [
    ["x", box.x - 4],
    ["y", box.y - 3],
    ["width", box.width + 8],
    ["height", box.height + 6],
    ["rx", 3],
  ])
    area.setAttribute(name, value);
  made.classList.add("handle");
  made.setAttribute("role", "button");
  made.setAttribute("tabindex", "-1");
  made.setAttribute("aria-expanded", "true");
  made.setAttribute("aria-label", name);
  made.append(area, element.querySelector("text"));
  element.append(made);
}

// --- fonts -----------------------------------------------------------------------------------------

// Graphviz laid out for Helvetica. Where a reader's system has neither it nor Arial, the font in its
// place is wider, and text would run out of its box.

/** Make all text of a picture smaller by what the font is wider. */
function fitFont(drawing) {
  const pen = document.createElement("canvas").getContext("2d");
  const family = getComputedStyle(drawing).fontFamily;
  const scale = (weight) => {
    pen.font = `${weight} 100px ${family}`;
    // What Helvetica's metrics say of this text, which Graphviz takes for bold type, too.
    return Math.min(1, 1050.7 / pen.measureText("0123456789 value grad").width);
  };
  const scales = { normal: scale("normal"), bold: scale("bold") };
  for (const text of drawing.querySelectorAll("text")) {
    const size =
      text.getAttribute("font-size") * scales[text.getAttribute("font-weight") ?? "normal"];
    text.setAttribute("font-size", size.toFixed(2));
  }
}

/** The texts of a node that are wider still than their room, which depends on what they say. */
function tooWide(node) {
  const { x, width } = shapeOf(node).getBBox();
  const room = (text) =>
    text.getAttribute("text-anchor") === "middle"
      ? width - 8
      : x + width - 4 - Number(text.getAttribute("x"));
  return [...node.querySelectorAll("text")]
    .map((text) => [text, room(text)])
    .filter(([text, most]) => most > 0 && text.getComputedTextLength() > most);
}

function squeeze(text, room) {
  text.setAttribute("textLength", room);
  text.setAttribute("lengthAdjust", "spacingAndGlyphs");
}

const shapeOf = (node) => node.querySelector("path, polygon, ellipse");
