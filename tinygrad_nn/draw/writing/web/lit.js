"use strict";
// A step in the picture: what is not there yet is pale, what takes part is lit.

function lightStep(graph, view, seen, step, { computed, arrived, owed, sums, backward }) {
  const keys = (nodes) => new Set(nodes.map((node) => seen.boxOf[node.id]));
  const drawn = (edges) => seen.edges.filter((e) => e.edges.some((edge) => edges.has(edge)));
  unlabel(view.sheet);
  restore(view.sheet);
  if (!step) {
    for (const name of ["waiting", "without", "so-far", "lit", "part"]) view.mark(name, []);
    return;
  }
  const waiting = new Set(graph.nodes.filter((node) => !computed[node.id]));
  const boxes = [...seen.boxes.values()].filter((box) =>
    box.node ? waiting.has(box.node) : box.clusters.every((c) => isWaiting(c, computed)),
  );
  const pale = boxes.map((box) => box.key);
  const paleEdges = seen.edges.filter((e) => e.edges.every((edge) => !computed[edge.target]));
  view.mark("waiting", [...pale, ...paleEdges.map((e) => e.key)]);
  const partly = graph.nodes.filter(
    (node) => backward && arrived[node.id] && arrived[node.id] < owed[node.id],
  );
  view.mark("without", keys(graph.nodes.filter((node) => node.grad && !arrived[node.id])));
  view.mark("so-far", keys(partly));
  for (const node of partly) write(view.element(seen.boxOf[node.id]), node, sums[node.id]);

  const { node, kind } = step;
  const edges = new Set(
    !node || kind === "seed" ? [] : node.arguments.filter((e) => kind === "forward" || e.flow),
  );
  const parts = [...edges].map((edge) => graph.nodes[edge.source]);
  const lines = drawn(edges);
  view.mark("lit", [...(node ? keys([node]) : []), ...lines.map((e) => e.key)]);
  view.mark("part", node ? keys(parts) : keys(graph.nodes.filter((n) => !n.arguments.length)));
  if (kind === "backward") {
    for (const e of lines) if (e.plain) label(view.element(e.key), figuresText(e.edges[0].flow));
  }
  if (node) view.reveal([...keys([node, ...parts])]);
}

function isWaiting(cluster, computed) {
  const todo = [cluster];
  while (todo.length) {
    const c = todo.pop();
    if (c.loose.some((node) => node.arguments.length && computed[node.id])) return false;
    todo.push(...c.parts);
  }
  return true;
}

/** Show the part of a single number's gradient that has come. */
function write(element, node, sum) {
  const text = [...(element?.querySelectorAll("text.grad") ?? [])].at(-1);
  if (!text || !isSingle(node.grad) || !Number.isFinite(sum)) return;
  text.dataset.whole = text.textContent;
  text.textContent = number(sum).replaceAll("−", "-");
}

function restore(sheet) {
  for (const text of sheet.querySelectorAll("text[data-whole]")) {
    text.textContent = text.dataset.whole;
    delete text.dataset.whole;
  }
}

/** Write what flows back along an edge beside it. */
function label(element, words) {
  const path = element?.querySelector("path");
  if (!path || words.length > 12) return; // an array would cover what is beside the edge
  for (const text of element.querySelectorAll("text")) text.classList.add("covered");
  const { x, y } = path.getPointAtLength(path.getTotalLength() / 2);
  const text = document.createElementNS(SVG, "text");
  for (const [name, value] of [
    ["x", x],
    ["y", y - 3],
    ["class", "flow"],
  ])
    text.setAttribute(name, value);
  text.textContent = words;
  element.append(text);
}

function unlabel(sheet) {
  for (const text of sheet.querySelectorAll(".flow")) text.remove();
  for (const text of sheet.querySelectorAll(".covered")) text.classList.remove("covered");
}
