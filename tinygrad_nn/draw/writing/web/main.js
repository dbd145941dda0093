"use strict";
// The page: what is folded, chosen and lit, and who is told when that changes.

(() => {
  const $ = (id) => document.getElementById(id);
  const graph = makeGraph(JSON.parse($("data").textContent));
  const canvas = $("canvas");
  const view = makeView(canvas);
  listenToHands(canvas, view);
  const MANY = 1500; // boxes that Graphviz takes more than a few seconds for
  let closed = new Set(graph.folded);
  let seen = null;
  let chosen = null; // {node} or {cluster}
  let wish = 0;

  // --- theme -------------------------------------------------------------------------------------

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paint = (isDark) => {
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", isDark);
  };
  const system = graph.theme === "auto";
  paint(system ? dark.matches : graph.theme === "dark");
  dark.addEventListener("change", () => system && paint(dark.matches));
  $("theme").addEventListener("click", () =>
    paint(document.documentElement.dataset.theme !== "dark"),
  );

  // --- drawing -----------------------------------------------------------------------------------

  const describe = (key) => {
    if (key.startsWith("c")) {
      const cluster = graph.clusters[Number(key.slice(1))];
      return `${cluster.heading}, cluster of ${plural(cluster.count, "node")}`;
    }
    return spoken(graph, seen.boxes.get(key));
  };

  /** Draw with other clusters folded. `anchor` [key before, key after] stays where it is. */
  const draw = async (folded, { anchor = null, sure = false } = {}) => {
    const next = look(graph, folded);
    if (next.boxes.size > MANY && !sure) return ask(folded, next, anchor);
    const mine = ++wish;
    const slow = setTimeout(() => say("Drawing…", ["Stop", stop]), 300);
    try {
      const picture = await graphviz(compose(graph, next));
      if (mine !== wish) return false;
      const active = focused();
      closed = folded;
      seen = next;
      view.show(picture, next, { anchor, describe });
      if (active) view.focus(seen.boxes.has(active) || !anchor ? active : anchor[1]);
    } catch (error) {
      if (mine !== wish || error.name === "AbortError") return false;
      say(`This view could not be drawn: ${error.message}`, ["Fold all", foldAll]);
      return false;
    } finally {
      clearTimeout(slow);
    }
    state();
    steps.again();
    light(search.hits());
    choose(chosen, { quiet: true });
    document.documentElement.dataset.ready = wish;
    return true;
  };
  const focused = () => {
    const element = document.activeElement?.closest?.(".node, .cluster");
    return element && canvas.contains(element) ? element.id : null;
  };
  const stop = () => {
    wish += 1;
    state();
  };
  const ask = (folded, next, anchor) => {
    say(`That would be ${plural(next.boxes.size, "box")}: drawing them takes a while.`, [
      "Draw them",
      () => draw(folded, { anchor, sure: true }),
    ]);
    return false;
  };
  const say = (text, ...buttons) => {
    $("state").replaceChildren(
      text,
      ...buttons.map(([name, onclick]) => make("button", { type: "button", onclick }, name)),
    );
  };
  const state = () => {
    if (!seen) return say("Nothing is drawn.", ["Draw", () => draw(closed)]);
    const folded = [...seen.boxes.values()].filter((box) => box.clusters).length;
    say(
      folded
        ? `${seen.hidden.toLocaleString("en")} of ${plural(graph.nodes.length, "node")} are folded into ${plural(folded, "box")}`
        : plural(graph.nodes.length, "node"),
    );
    const depth = Math.max(-1, ...graph.clusters.map((c) => c.depth));
    const level = [...Array(depth + 2).keys()].find((d) => same(foldedFrom(graph, d), closed));
    $("depth").value = level === undefined ? "" : String(level);
    return undefined;
  };
  const same = (a, b) => a.size === b.size && [...a].every((x) => b.has(x));

  // --- folding -----------------------------------------------------------------------------------

  const foldAll = () => draw(foldedFrom(graph, 0));
  const openAll = () => draw(new Set());
  const fold = (cluster) => {
    const next = new Set(closed).add(cluster.id);
    const box = look(graph, next).boxOf[firstNode(cluster).id];
    return draw(next, { anchor: [`c${cluster.id}`, box] });
  };
  /** Open a folded box: all that it stands for, or the first where that would be too much. */
  const open = (box) => {
    const next = new Set(closed);
    for (const cluster of box.clusters) next.delete(cluster.id);
    if (box.clusters.length > 1 && look(graph, next).boxes.size > 150) {
      for (const cluster of box.clusters.slice(1)) next.add(cluster.id);
    }
    return draw(next, { anchor: [box.key, `c${box.clusters[0].id}`] });
  };
  const firstNode = (cluster) => {
    let c = cluster;
    while (!c.loose.length) c = c.parts.find((part) => part.count);
    return c.loose[0];
  };
  /** Open what hides a node or a cluster; true when it can be seen. */
  const uncover = async (item) => {
    const hiding = around(graph, item).filter((cluster) => closed.has(cluster.id));
    if (!hiding.length) return true;
    const next = new Set(closed);
    for (const cluster of hiding) next.delete(cluster.id);
    const was = seen.boxOf[item.arguments ? item.id : firstNode(item).id];
    return draw(next, { anchor: [was, `c${hiding[0].id}`] });
  };

  // --- choosing ----------------------------------------------------------------------------------

  const keyOf = (item) => {
    if (item.node) return seen.boxOf[item.node.id];
    const { cluster } = item;
    return view.places().has(`c${cluster.id}`)
      ? `c${cluster.id}`
      : seen.boxOf[firstNode(cluster).id];
  };
  const choose = (item, { quiet = false } = {}) => {
    chosen = item;
    view.mark("chosen", item && seen ? [keyOf(item)] : []);
    $("overview").hidden = Boolean(item);
    if (!item) return details.clear();
    if (item.node) details.node(item.node);
    else details.cluster(item.cluster, !closed.has(item.cluster.id));
    if (!quiet) {
      panel(true);
      view.reveal([keyOf(item)]); // where the panel takes room from the picture
    }
    return undefined;
  };
  const panel = (isOpen) => {
    document.body.classList.toggle("alone", !isOpen);
    $("panel-toggle").setAttribute("aria-expanded", isOpen);
  };
  const goToNode = async (id) => {
    const node = graph.nodes[id];
    if (!(await uncover(node))) return;
    choose({ node });
    view.centre(seen.boxOf[id]);
    view.rove(view.element(seen.boxOf[id]));
    $("details").querySelector("h2").focus({ preventScroll: true });
    $("panel").scrollTop = 0;
  };
  const details = makeDetails(graph, $("details"), {
    toNode: goToNode,
    close: () => {
      const key = chosen && keyOf(chosen);
      choose(null);
      if (matchMedia("(max-width: 640px)").matches) panel(false);
      if (key) view.focus(key);
    },
    toggle: (id) => {
      const cluster = graph.clusters[id];
      const box = [...seen.boxes.values()].find((b) => b.clusters?.includes(cluster));
      return box ? open(box) : fold(cluster);
    },
  });
  const activate = (element) => {
    const { id } = element.closest(".node, .cluster");
    const box = seen.boxes.get(id);
    view.rove(element);
    if (!box) fold(graph.clusters[Number(id.slice(1))]);
    else if (box.clusters) open(box);
    else choose({ node: box.node });
  };
  canvas.addEventListener("click", (event) => {
    const target = event.target.closest(".node, .handle");
    if (target) activate(target);
  });
  canvas.addEventListener("focusin", (event) => {
    const target = event.target.closest("[role=button]");
    if (!target) return;
    view.rove(target);
    view.reveal([target.closest(".node, .cluster").id]);
  });

  /** From a box along the edges, or in the order in which things stand. */
  const walk = (element, key) => {
    const { id } = element.closest(".node, .cluster");
    const along = graph.rankdir === "RL" || graph.rankdir === "BT" ? -1 : 1;
    const forward = { ArrowRight: along, ArrowLeft: -along }[key];
    const edge = forward && seen.edges.find((e) => (forward > 0 ? e.source : e.target) === id);
    if (edge) view.focus(forward > 0 ? edge.target : edge.source);
    if (forward) return;
    const all = [];
    const todo = [...seen.tree].reverse();
    while (todo.length) {
      const item = todo.pop();
      all.push(item.box ? item.box.key : `c${item.cluster.id}`);
      if (item.cluster) todo.push(...[...item.inside].reverse());
    }
    const next = all[all.indexOf(id) + (key === "ArrowDown" ? 1 : -1)];
    if (next) view.focus(next);
  };

  // --- search and steps --------------------------------------------------------------------------

  const light = (hits) => seen && view.mark("hit", new Set(hits.map(keyOf)));
  const search = makeSearch(
    graph,
    { form: $("search"), query: $("query"), count: $("hits") },
    {
      light,
      to: async (hit) => {
        if (!(await uncover(hit.node ?? hit.cluster))) return;
        choose(hit, { quiet: matchMedia("(max-width: 640px)").matches });
        view.centre(keyOf(hit));
      },
    },
  );

  const showStep = async (step, progress) => {
    if (!seen) return;
    if (step?.node && $("open-steps").checked && !(await uncover(step.node))) return;
    lightStep(graph, view, seen, step, progress);
  };
  const steps = makeSteps(
    graph,
    {
      slider: $("slider"),
      previous: $("previous"),
      next: $("next"),
      play: $("play"),
      place: $("place"),
      words: $("sentence"),
    },
    showStep,
  );

  // --- controls ----------------------------------------------------------------------------------

  const has = (name, is) => {
    for (const element of document.querySelectorAll(`.if-${name}`)) element.hidden = !is;
  };
  has("clusters", graph.clusters.length > 0);
  has(
    "dead",
    graph.nodes.some((node) => node.is_dead),
  );
  has(
    "marks",
    graph.nodes.some((node) => node.mark),
  );
  has(
    "red",
    graph.nodes.some((n) => [n.value, n.grad].some((f) => f && (f.nan || f.inf))),
  );
  $("folding").hidden = !graph.clusters.length;
  $("note").textContent = graph.note;
  $("note").hidden = !graph.note;
  const deepest = Math.max(-1, ...graph.clusters.map((c) => c.depth));
  $("depth").append(
    make("option", { value: "", hidden: "" }, "some"),
    ...[...Array(deepest + 2).keys()].map((d) =>
      make("option", { value: d }, d === 0 ? "none" : d > deepest ? "all" : String(d)),
    ),
  );
  $("depth").addEventListener("change", (event) =>
    draw(foldedFrom(graph, Number(event.target.value))),
  );
  $("fold-all").addEventListener("click", foldAll);
  $("open-all").addEventListener("click", openAll);
  $("zoom-in").addEventListener("click", () => view.zoomAt(1.25, undefined, undefined, true));
  $("zoom-out").addEventListener("click", () => view.zoomAt(0.8, undefined, undefined, true));
  $("fit").addEventListener("click", () => view.fit());
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("panel-toggle").addEventListener("click", () =>
    panel(document.body.classList.contains("alone")),
  );
  panel(!matchMedia("(max-width: 640px)").matches);

  listen({
    canvas,
    view,
    steps,
    isOn: () => $("single-keys").checked,
    go: {
      search: () => $("query").select(),
      help: () => $("help").showModal(),
      foldAll,
      openAll,
      activate,
      walk,
      escape: () => {
        if (chosen) choose(null);
        else if (steps.running()) steps.stop();
      },
    },
  });
  steps.go(0);
  draw(closed);
})();
