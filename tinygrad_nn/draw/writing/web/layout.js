"use strict";
// From what is seen to the text that Graphviz reads.

/** Write a view in Graphviz' language. Every label was written where the page was made. */
function compose(graph, view) {
  const lines = [...graph.head];
  // Graphviz does its best for a few hundred boxes; for more, its second best is soon enough.
  if (view.boxes.size > 400) lines.push("graph [nslimit=2, nslimit1=2, mclimit=0.3]");
  const todo = [...view.tree].reverse();
  while (todo.length) {
    const item = todo.pop();
    if (typeof item === "string") {
      lines.push(item);
    } else if (item.box) {
      lines.push(`${item.box.key} [id="${item.box.key}", ${boxAttributes(graph, item.box)}]`);
    } else {
      const { id, open } = item.cluster;
      lines.push(`subgraph cluster_${id} {`, `id="c${id}"`, open);
      todo.push("}", ...[...item.inside].reverse());
    }
  }
  for (const { key, source, target, plain, edges } of view.edges) {
    const attributes = plain ? edges[0].dot : merged(edges);
    lines.push(
      `${quoted(source)} -> ${quoted(target)} [id="${key}"${attributes && ", "}${attributes}]`,
    );
  }
  return [...lines, "}"].join("\n");
}

const quoted = (key) => `"${key}"`;

function boxAttributes(graph, box) {
  if (box.node) {
    const group = graph.clusters.length ? `group=${box.node.group}, ` : "";
    return group + box.node.dot;
  }
  const [first, last] = [box.clusters[0], box.clusters.at(-1)];
  return first.folded
    .replaceAll("\ue000", first === last ? "" : ` × ${box.clusters.length}`)
    .replaceAll("\ue001", () => (first === last ? "" : ` … ${escaped(last.name)}`))
    .replaceAll(graph.count, box.hidden.toLocaleString("en"));
}

/** Escape text for a label, as where the other labels are written. */
function escaped(text) {
  const entities = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;" };
  return text.replace(/[&<>"']/g, (sign) => entities[sign]).replaceAll("\\", "\\\\");
}

/** An edge that stands for several is as straight as the straightest. */
function merged(edges) {
  return edges.some((edge) => edge.dot.startsWith("weight=")) ? "weight=20" : "";
}
