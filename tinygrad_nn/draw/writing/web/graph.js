"use strict";
// The graph, and what of it is seen when some of its clusters are folded.

/** Add to the data what is looked up often: arguments, users, insides. */
function makeGraph(data) {
  const { nodes, edges, clusters } = data;
  for (const node of nodes) Object.assign(node, { arguments: [], users: [] });
  edges.forEach((edge, id) => {
    edge.id = id;
    nodes[edge.target].arguments.push(edge);
    nodes[edge.source].users.push(edge);
  });
  clusters.forEach((cluster, id) => {
    const parent = clusters[cluster.parent];
    Object.assign(cluster, { id, parts: [], loose: [], count: 0, first: Infinity });
    cluster.heading = cluster.name ? `${cluster.name}: ${cluster.title}` : cluster.title;
    cluster.depth = parent ? parent.depth + 1 : 0;
    if (parent) parent.parts.push(cluster);
  });
  for (const node of nodes) {
    if (node.cluster >= 0) clusters[node.cluster].loose.push(node);
    for (let c = node.cluster; c >= 0; c = clusters[c].parent) {
      clusters[c].count += 1;
      clusters[c].first = Math.min(clusters[c].first, node.id);
    }
  }
  return {
    ...data,
    roots: clusters.filter((c) => c.parent < 0),
    loose: nodes.filter((node) => node.cluster < 0),
  };
}

/** The clusters around a node or a cluster, the outermost first. */
function around(graph, item) {
  const found = [];
  const parent = item.arguments ? item.cluster : item.parent;
  for (let c = parent; c >= 0; c = graph.clusters[c].parent) found.unshift(graph.clusters[c]);
  return found;
}

/**
 * What is seen when the clusters in `folded` (a set of their numbers) are each one box:
 *   boxes   {key, node} or {key, clusters: neighbours of one kind, hidden: how many nodes}
 *   edges   {key, source, target: keys of boxes, edges: those that it stands for}
 *   tree    boxes and open clusters, nested: [{box} or {cluster, inside}],
 *           in the order of creation
 *   boxOf   the key of the box that each node is in
 */
function look(graph, folded) {
  const boxes = new Map();
  const boxOf = new Array(graph.nodes.length);
  const inside = (parts, loose) => {
    const found = loose.map((node) => {
      const box = { key: `n${node.id}`, node };
      boxes.set(box.key, box);
      boxOf[node.id] = box.key;
      return { first: node.id, box };
    });
    const last = new Map(); // of each run of equal clusters the box that the next one joins
    for (const cluster of parts) {
      if (!cluster.count) continue;
      if (!folded.has(cluster.id)) {
        last.delete(cluster.run);
        found.push({ first: cluster.first, cluster, inside: null });
        continue;
      }
      let box = last.get(cluster.run);
      if (!box) {
        box = { key: `f${cluster.id}`, clusters: [], hidden: 0 };
        last.set(cluster.run, box);
        boxes.set(box.key, box);
        found.push({ first: cluster.first, box });
      }
      box.clusters.push(cluster);
      box.hidden += cluster.count;
      assign(cluster, boxOf, box.key);
    }
    return found.sort((a, b) => a.first - b.first);
  };
  const tree = inside(graph.roots, graph.loose);
  const todo = [tree];
  while (todo.length) {
    for (const item of todo.pop()) {
      if (!item.cluster) continue;
      item.inside = inside(item.cluster.parts, item.cluster.loose);
      todo.push(item.inside);
    }
  }
  const edges = new Map();
  for (const edge of graph.edges) {
    const source = boxOf[edge.source];
    const target = boxOf[edge.target];
    if (source === target) continue;
    const plain = source.startsWith("n") && target.startsWith("n");
    const key = plain ? `e${edge.id}` : `${source}-${target}`;
    const known = edges.get(key);
    if (known) known.edges.push(edge);
    else edges.set(key, { key, source, target, plain, edges: [edge] });
  }
  let hidden = 0;
  for (const box of boxes.values()) hidden += box.hidden ?? 0;
  return { boxes, edges: [...edges.values()], tree, boxOf, hidden };
}

/** Say of every node in a cluster which box it is in. */
function assign(cluster, boxOf, key) {
  const todo = [cluster];
  while (todo.length) {
    const c = todo.pop();
    for (const node of c.loose) boxOf[node.id] = key;
    todo.push(...c.parts);
  }
}

/** Every cluster at `depth` or deeper; the outermost ones are at depth 0. */
function foldedFrom(graph, depth) {
  return new Set(graph.clusters.filter((c) => c.depth >= depth).map((c) => c.id));
}

const INFIX = { add: "+", add_n: "+", subtract: "−", multiply: "×", divide: "÷", matmul: "@" };
const SUMS = ["add", "add_n", "subtract"];
const NOUNS = {
  add: "sum",
  add_n: "sum",
  subtract: "difference",
  multiply: "product",
  divide: "quotient",
  matmul: "product",
};

/** What a node is called in a sentence: its name, or a short expression in names, or a noun. */
function called(graph, node) {
  return expression(graph, node, 2) ?? NOUNS[node.op] ?? node.op;
}

/** The same, to stand beside a sign: in brackets where it has signs itself. */
function operand(graph, node) {
  const text = called(graph, node);
  return !node.label.trim() && node.op in INFIX && text.includes(" ") ? `(${text})` : text;
}

function expression(graph, node, depth) {
  if (node.label.trim()) return shortened(node.label, 40);
  if (!node.op) return node.role === "constant" && node.value ? signed(node.value.text) : node.role;
  if (!depth || !node.arguments.length || node.arguments.length > 3) return null;
  const parts = node.arguments.map((edge) => {
    const source = graph.nodes[edge.source];
    const text = expression(graph, source, depth - 1);
    const loose =
      !source.label.trim() &&
      (SUMS.includes(source.op) ? node.op !== "add" : node.op === source.op);
    return text !== null && loose && node.op in INFIX && source.op in INFIX ? `(${text})` : text;
  });
  if (parts.includes(null)) return null;
  const text =
    node.op in INFIX && parts.length > 1
      ? parts.join(` ${INFIX[node.op]} `)
      : `${node.op}(${parts.join(", ")})`;
  return text.length <= 24 ? text : null;
}
