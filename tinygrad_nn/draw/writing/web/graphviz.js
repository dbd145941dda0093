"use strict";
// Graphviz in a worker, so that the page answers while a picture is laid out; on the page itself
// where a browser refuses. It starts before the page is read to its end.

const NO_WORKER = "this browser refuses the worker";

/** Returns draw(dot) -> promise of SVG. A picture that is not wanted any more is given up. */
function startGraphviz(packed) {
  let worker = null;
  let waiting = null;
  let refused = false;
  let onPage = null;

  const begin = (text) => {
    if (worker || refused) return;
    const source = new Blob([`${text}\n(${work})();`], { type: "text/javascript" });
    try {
      worker = new Worker(URL.createObjectURL(source));
    } catch {
      refused = true;
      return;
    }
    worker.onmessage = ({ data }) => settle(data);
    worker.onerror = (event) => {
      event.preventDefault();
      refused = true;
      settle({ error: NO_WORKER });
    };
  };
  const settle = ({ svg, error }) => {
    const wanted = waiting;
    waiting = null;
    if (error === undefined) return wanted.resolve(svg);
    stop(); // after a failure its memory is in no known state
    return wanted?.reject(new Error(error));
  };
  const stop = () => {
    worker.terminate();
    worker = null;
  };
  const inWorker = async (dot) => {
    const text = await code;
    if (waiting) {
      stop(); // nothing else ends a layout
      waiting.reject(new DOMException("another picture is wanted", "AbortError"));
      waiting = null;
    }
    begin(text);
    if (refused) throw new Error(NO_WORKER);
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

  const code = unpack(packed);
  code.then(begin, () => {}); // who draws is told of the failure
  return async (dot) => {
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

const graphviz = startGraphviz(document.getElementById("graphviz").textContent);
