"use strict";
// From what is seen to a picture: the text that Graphviz reads, and Graphviz itself.

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
    lines.push(`${quoted(source)} -> ${quoted(target)} [id="${key}"${attributes && ", "}${attributes}]`);
  }
  return [...lines, "}"].join("\n");
}

const NO_WORKER = "this browser refuses the worker";

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

/**
 * Graphviz in a worker, so that the page answers meanwhile; on the page itself where a browser
 * refuses. Returns draw(dot) -> promise of SVG; a picture that is not wanted any more is given up.
 */
function startGraphviz(packed) {
  const code = unpack(packed);
  let worker = null;
  let waiting = null;
  let onPage = null;

  const begin = (text) => {
    const source = new Blob([`${text}\n(${work})();`], { type: "text/javascript" });
    worker = new Worker(URL.createObjectURL(source));
    worker.onmessage = ({ data }) => settle(data);
    worker.onerror = (event) => {
      event.preventDefault();
      settle({ error: NO_WORKER });
    };
  };
  const settle = ({ svg, error }) => {
    const { resolve, reject } = waiting;
    waiting = null;
    if (error === undefined) return resolve(svg);
    stop(); // after a failure its memory is in no known state
    return reject(new Error(error));
  };
  const stop = () => {
    worker.terminate();
    worker = null;
  };
  const inWorker = async (dot) => {
    const text = await code;
    if (waiting) {
      stop(); // nothing else stops a layout
      waiting.reject(new DOMException("another picture is wanted", "AbortError"));
    }
    try {
      if (!worker) begin(text);
    } catch {
      throw new Error(NO_WORKER);
    }
    return new Promise((resolve, reject) => {
      waiting = { resolve, reject };
      worker.postMessage(dot);
    });
  };
  const here = async (dot) => {
    onPage ??= (async () => {
      const script = document.createElement("script");
      script.src = URL.createObjectURL(new Blob([await code], { type: "text/javascript" }));
      await new Promise((resolve, reject) => {
        script.onload = resolve;
        script.onerror = () => reject(new Error("Graphviz could not be started in this browser"));
        document.head.append(script);
      });
      return Viz.instance();
    })();
    return (await onPage).renderString(dot, { format: "svg" });
  };
  return async (dot) => {
    if (onPage) return here(dot);
    try {
      return await inWorker(dot);
    } catch (error) {
      if (error.message !== NO_WORKER) throw error;
      return here(dot);
    }
  };
}

/** What the worker runs after viz-js. */
function work() {
  const graphviz = Viz.instance();
  self.onmessage = async ({ data }) => {
    try {
      self.postMessage({ svg: (await graphviz).renderString(data, { format: "svg" }) });
    } catch (error) {
      self.postMessage({ error: String(error?.message ?? error) });
    }
  };
}

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}
