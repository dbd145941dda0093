"use strict";
// What is known of one node or folded box, in the panel beside the picture.

/** Make an element; text stays text. */
function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...content.filter((part) => part !== "" && part !== null));
  return element;
}

/** Say what a box is, for those who do not see it. */
function spoken(graph, box) {
  if (box.clusters) {
    const [first] = box.clusters;
    const times = box.clusters.length > 1 ? ` times ${box.clusters.length}` : "";
    return `${first.heading}${times}, folded, ${plural(box.hidden, "node")}`;
  }
  const { node } = box;
  const parts = [named(node), node.role, node.shape];
  if (node.mark) parts.push(node.mark.word);
  if (node.value && named(node) !== node.value.text) parts.push(`value ${figuresText(node.value)}`);
  if (node.grad) parts.push(`gradient ${figuresText(node.grad)}`);
  return parts.filter(Boolean).join(", ");
}

function named(node) {
  return [node.label.trim() || (node.op ? "" : expression(null, node, 0)), node.op]
    .filter(Boolean)
    .join(", ");
}

function makeDetails(graph, place, go) {
  const link = (node) =>
    make("button", { type: "button", class: "link", onclick: () => go.toNode(node.id) }, node.name);
  const facts = (...pairs) =>
    make(
      "dl",
      { class: "facts" },
      ...pairs
        .filter(([, value]) => value)
        .map(([term, value]) =>
          make(
            "div",
            {},
            make("dt", {}, term),
            value.tagName === "DD" ? value : make("dd", {}, value),
          ),
        ),
    );
  const heading = (title, ...buttons) =>
    make(
      "div",
      { class: "top" },
      make("h2", { tabindex: "-1" }, title),
      make("span", {}, ...buttons),
    );
  const close = () =>
    make("button", { type: "button", "aria-label": "Close the details", onclick: go.close }, "×");
  const section = (title, ...content) => [make("h3", {}, title), ...content];

  const statistics = (figures) => {
    if (figures.size === 1 && figures.text)
      return [facts(["", red(figures, figuresText(figures))])];
    const bad = figures.nan + figures.inf;
    return [
      facts(
        ["elements", figures.size.toLocaleString("en")],
        ["all", figures.text && red(figures, signed(figures.text))],
        ["min", figures.low === null ? "" : number(figures.low)],
        ["mean", figures.mean === null ? "" : number(figures.mean)],
        ["max", figures.high === null ? "" : number(figures.high)],
        ["zero", share(figures.zeros, figures.size)],
        ["not finite", red(figures, share(bad, figures.size))],
      ),
    ];
  };
  const red = (figures, text) =>
    make("dd", figures.nan || figures.inf ? { class: "red" } : {}, text);

  const time = (seconds) =>
    seconds >= 1
      ? `${number(seconds)} s`
      : seconds >= 1e-3
        ? `${number(seconds * 1e3)} ms`
        : `${number(seconds * 1e6)} µs`;
  const bytes = (n) =>
    n >= 1 << 20
      ? `${number(n / (1 << 20))} MiB`
      : n >= 1 << 10
        ? `${number(n / (1 << 10))} KiB`
        : `${n} B`;
  const cost = (c) =>
    section(
      "Cost",
      facts(
        ["forward", time(c.forward)],
        ["backward", time(c.backward)],
        ["kept", bytes(c.kept)],
        ["peak", bytes(c.peak)],
      ),
    );

  const arguments_ = (node) =>
    section(
      "Computed from",
      make(
        "ul",
        {},
        ...node.arguments.map((edge) => {
          const source = graph.nodes[edge.source];
          const rule = ruleOf(graph, edge);
          const numbers = [figuresText(source.value)];
          if (edge.local !== null) numbers.push(`derivative ${number(edge.local)}`);
          if (edge.flow) numbers.push(`gets back ${figuresText(edge.flow)}`);
          return make(
            "li",
            {},
            link(source),
            " ",
            make("span", { class: "quiet" }, numbers.filter(Boolean).join("; ")),
            rule
              ? make(
                  "div",
                  {},
                  "gradient ",
                  make("span", { class: "formula" }, rule[1]),
                  rule[0] === source.label
                    ? ""
                    : make("span", { class: "quiet" }, ` as ${rule[0]}`),
                )
              : "",
          );
        }),
      ),
    );
  const users = (node) =>
    section(
      "Goes into",
      make(
        "ul",
        {},
        ...node.users.map((edge) => {
          const target = graph.nodes[edge.target];
          const back = edge.flow ? `sends back ${figuresText(edge.flow)}` : "";
          return make("li", {}, link(target), " ", make("span", { class: "quiet" }, back));
        }),
      ),
    );

  const ofNode = (node) => [
    heading(node.name, close()),
    facts(
      ["role", node.role],
      ["operation", node.op],
      ["with", node.settings],
      ["shape", node.shape],
      ["type", node.dtype],
      ["left in", node.target],
      [
        "in",
        around(graph, node)
          .map((c) => c.heading)
          .join(" › "),
      ],
      ["line", node.source && make("dd", { class: "formula" }, node.source)],
    ),
    ...(node.mark
      ? section(`Checked: ${node.mark.word}`, make("p", { class: "red" }, node.mark.message))
      : []),
    ...(node.value ? section("Value", ...statistics(node.value)) : []),
    ...(node.grad ? section("Gradient", ...statistics(node.grad)) : []),
    ...(node.arguments.length ? arguments_(node) : []),
    ...(node.arguments.some((edge) => ruleOf(graph, edge))
      ? [
          make(
            "p",
            { class: "quiet" },
            "In the formulas g is the gradient that arrives here, y the result.",
          ),
        ]
      : []),
    ...(node.users.length ? users(node) : []),
    ...(node.cost ? cost(node.cost) : []),
  ];
  const ofCluster = (cluster, isOpen) => [
    heading(cluster.heading, close()),
    facts(
      ["nodes", cluster.count.toLocaleString("en")],
      [
        "in",
        around(graph, cluster)
          .map((c) => c.heading)
          .join(" › "),
      ],
    ),
    make(
      "p",
      {},
      make(
        "button",
        { type: "button", onclick: () => go.toggle(cluster.id) },
        isOpen ? "Fold" : "Open",
      ),
    ),
  ];

  return {
    node: (node) => place.replaceChildren(...ofNode(node)),
    cluster: (cluster, isOpen) => place.replaceChildren(...ofCluster(cluster, isOpen)),
    clear: () => place.replaceChildren(),
  };
}

/** The rule that gives an argument its gradient: [name of the argument, formula], if known. */
function ruleOf(graph, edge) {
  const { rules, arguments: all } = graph.nodes[edge.target];
  if (!rules.length) return null;
  if (rules.length === all.length) return rules[all.indexOf(edge)];
  const flowing = all.filter((other) => other.flow || other.local !== null);
  return rules.length === flowing.length ? (rules[flowing.indexOf(edge)] ?? null) : null;
}
