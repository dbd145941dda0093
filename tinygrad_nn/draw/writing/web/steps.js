"use strict";
// The computation step by step: forward in the order in which it was done, then backward.

/**
 * The steps: {kind: "leaves"}, {kind: "forward", node}, {kind: "seed", node} and
 * {kind: "backward", node}.
 */
function stepsOf(graph) {
  const results = graph.nodes.filter((node) => node.arguments.length);
  const forward = results.map((node) => ({ kind: "forward", node }));
  const senders = results.filter((node) => node.arguments.some((edge) => edge.flow)).reverse();
  const backward = senders.map((node) => ({ kind: "backward", node }));
  const seed = senders.length ? [{ kind: "seed", node: senders[0] }] : [];
  return [{ kind: "leaves" }, ...forward, ...seed, ...backward];
}

/**
 * What has happened after `count` steps: `computed` says of each node whether it is there,
 * `arrived` how many parts of its gradient have come, and `sums` what these are for single
 * numbers. Of `owed` parts in all.
 */
function progress(graph, steps, count) {
  const computed = graph.nodes.map(() => false);
  const arrived = graph.nodes.map(() => 0);
  const sums = graph.nodes.map(() => 0);
  const owed = graph.nodes.map((node) => node.users.filter((edge) => edge.flow).length);
  let backward = false;
  for (const step of steps.slice(0, count)) {
    if (step.kind === "leaves") {
      for (const node of graph.nodes) if (!node.arguments.length) computed[node.id] = true;
    } else if (step.kind === "forward") computed[step.node.id] = true;
    else if (step.kind === "seed") {
      backward = true;
      owed[step.node.id] = arrived[step.node.id] = 1;
    } else {
      for (const edge of step.node.arguments) {
        if (!edge.flow) continue;
        arrived[edge.source] += 1;
        sums[edge.source] += isSingle(edge.flow) ? edge.flow.low : NaN;
      }
    }
  }
  return { computed, arrived, owed, sums, backward };
}

// --- in words --------------------------------------------------------------------------------------

/** Write a node's value, or for arrays what stands for it. */
function valueText(node) {
  if (!node.value) return node.name;
  if (isSingle(node.value) || node.value.text) return signed(node.value.text);
  return `${node.shape} (${figuresText(node.value)})`;
}

function joined(node, texts) {
  const sign = INFIX[node.op];
  if (sign && texts.length > 1) return texts.join(` ${sign} `);
  const settings = node.settings ? [node.settings] : [];
  return `${node.op}(${[...texts, ...settings].join(", ")})`;
}

/** Names and numbers of long argument lists are cut in the middle. */
function few(texts) {
  return texts.length > 6 ? [...texts.slice(0, 3), "…", ...texts.slice(-2)] : texts;
}

function sentence(graph, step, state) {
  return {
    leaves: () => [
      line(
        bold("Forward."),
        " What the computation begins with is there: inputs, parameters and constants.",
      ),
    ],
    forward: () => [forwardText(graph, step.node)],
    seed: () => [
      line(
        bold("Backward."),
        ` It begins at ${called(graph, step.node)}: its derivative with respect to itself is 1.`,
      ),
    ],
    backward: () => backwardText(graph, step.node, state),
  }[step.kind]();
}

const line = (...parts) => make("p", {}, ...parts);
const bold = (text) => make("b", {}, text);

function forwardText(graph, node) {
  const sources = node.arguments.map((edge) => graph.nodes[edge.source]);
  const names = joined(node, few(sources.map((source) => operand(graph, source))));
  const values = sources.every((source) => source.value && source.value.size === 1)
    ? `${joined(node, few(sources.map(valueText)))} = `
    : "";
  const title = node.label.trim() ? `${called(graph, node)} = ${node.op}` : node.op;
  return line(bold(title), `: ${names} = ${values}${valueText(node)}`);
}

function backwardText(graph, node, state) {
  const of = (other) => `d ${outputName(graph)}/d ${operand(graph, other)}`;
  const all = node.arguments.filter((edge) => edge.flow);
  const head = line(bold(`${of(node)} = ${figuresText(node.grad)}`), ` arrives at ${node.name}.`);
  const parts = all.slice(0, 8).map((edge) => {
    const source = graph.nodes[edge.source];
    return make(
      "li",
      {},
      `to ${called(graph, source)}: ${product(graph, node, edge)}; ${soFar(graph, source, state)}`,
    );
  });
  if (all.length > 8) parts.push(make("li", {}, `… and to ${all.length - 8} more`));
  return [head, make("ul", {}, ...parts)];
}

function outputName(graph) {
  const output = graph.nodes.findLast((node) => node.role === "output");
  return output ? operand(graph, output) : "output";
}

/** Write what a rule makes of the gradient: factors, where numbers have some, else the formula. */
function product(graph, node, edge) {
  const back = figuresText(edge.flow);
  const rule = ruleOf(graph, edge);
  if (!isSingle(node.grad) || edge.local === null) {
    return rule ? `${rule[1]} = ${back}` : back;
  }
  const [g, local] = [figuresText(node.grad), number(edge.local)];
  if (node.op === "multiply" && node.arguments.length === 2) {
    const other = node.arguments.find((one) => one !== edge);
    const source = graph.nodes[other.source];
    if (source.label.trim()) return `${g} × ${called(graph, source)}’s ${local} = ${back}`;
  }
  const formula = rule && !/^[g−· \d.]*$/.test(rule[1]) ? `${rule[1]} = ` : "";
  return `${formula}${g} × ${local} = ${back}`;
}

function soFar(graph, source, { arrived, owed, sums }) {
  const i = source.id;
  const name = called(graph, source);
  if (arrived[i] < owed[i]) {
    const parts = `${arrived[i]} of ${owed[i]} parts`;
    return Number.isFinite(sums[i])
      ? `gradient of ${name} so far: ${number(sums[i])} (${parts})`
      : `${parts} of the gradient of ${name}`;
  }
  if (owed[i] === 1) return `that is the gradient of ${name}`;
  return `gradient of ${name}: ${figuresText(source.grad)}, the sum of ${owed[i]} parts`;
}

// --- the controls ----------------------------------------------------------------------------------

function makeSteps(graph, controls, show) {
  const steps = stepsOf(graph);
  const { slider, previous, next, play, place, words } = controls;
  let count = 0;
  let timer = null;

  const go = (to) => {
    count = Math.max(0, Math.min(steps.length, to));
    slider.value = count;
    previous.disabled = count === 0;
    next.disabled = count === steps.length;
    place.textContent = `${count} of ${steps.length}`;
    const step = steps[count - 1];
    const state = progress(graph, steps, count);
    const said = step ? sentence(graph, step, state) : [line(INTRODUCTION)];
    words.replaceChildren(...said);
    slider.setAttribute(
      "aria-valuetext",
      step ? words.textContent : "not begun: everything is shown",
    );
    show(step ?? null, state);
    if (count === steps.length) pause();
  };
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play");
  };
  const start = () => {
    if (count === steps.length) go(0);
    timer = setInterval(() => go(count + 1), 1600);
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "Pause");
    go(count + 1);
  };
  const step = (by) => {
    pause();
    go(count + by);
  };
  slider.max = steps.length;
  slider.addEventListener("input", () => {
    pause();
    go(Number(slider.value));
  });
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  play.addEventListener("click", () => (timer === null ? start() : pause()));
  return {
    step,
    go,
    stop: () => {
      pause();
      go(0);
    },
    again: () => go(count),
    running: () => count > 0,
  };
}

const INTRODUCTION =
  "Walk through the computation: forward, each result in turn; then backward, gradient by gradient.";
