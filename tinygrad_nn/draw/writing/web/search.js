"use strict";
// Finding nodes by label or operation, and clusters by name or title.

function makeSearch(graph, { form, query, count }, go) {
  const words = [
    ...graph.nodes.map((node) => ({
      node,
      text: folded(`${node.name} ${node.op} ${node.settings}`),
    })),
    ...graph.clusters
      .filter((cluster) => cluster.count)
      .map((cluster) => ({ cluster, text: folded(cluster.heading) })),
  ];
  let hits = [];
  let at = -1;

  const say = () => {
    if (!query.value.trim()) count.value = "";
    else if (!hits.length) count.value = "no hits";
    else
      count.value =
        at < 0 ? `${hits.length.toLocaleString("en")} hits` : `${at + 1} of ${hits.length}`;
    if (hits.length === 1 && at < 0) count.value = "1 hit";
  };
  const find = () => {
    const wanted = folded(query.value.trim());
    hits = wanted ? words.filter(({ text }) => text.includes(wanted)) : [];
    at = -1;
    say();
    go.light(hits);
  };
  const step = (by) => {
    if (!hits.length) return;
    at = at < 0 && by < 0 ? hits.length - 1 : (at + by + hits.length) % hits.length;
    say();
    go.to(hits[at]);
  };
  query.addEventListener("input", find);
  query.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      step(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape" && query.value) {
      event.stopPropagation();
      event.preventDefault();
      query.value = "";
      find();
    }
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  return { hits: () => hits };
}

/** Without difference of case. */
function folded(text) {
  return text.toLowerCase();
}
