"use strict";
// How numbers are written: as in the picture, but with the sign for minus that is no hyphen.

/** Write one number with four significant digits; whole ones in full. */
function number(x) {
  if (typeof x !== "number") return signed(String(x)); // "nan", "inf", "-inf"
  x += 0; // the sign of a negative zero would only puzzle the reader
  if (Number.isInteger(x) && Math.abs(x) < 1e5) return signed(x.toFixed(1));
  const size = Math.abs(x);
  let text = size < 1e-4 || size >= 9999.5 ? x.toExponential(3) : x.toPrecision(4);
  text = text.replace(/(\.\d*?)0+(?=e|$)/, "$1").replace(/\.(?=e|$)/, "");
  text = text.replace(/e([+-])(\d)$/, "e$10$2");
  if (/^-?\d+$/.test(text) && size < 100) text += ".0";
  return signed(text);
}

function signed(text) {
  return text.replace(/-(?=[\d.]|inf)/g, "−");
}

/** Whether figures are of one real number. */
function isSingle(figures) {
  return Boolean(figures) && figures.size === 1 && typeof figures.low === "number";
}

/** Write an array's figures in one line. */
function figuresText(figures) {
  if (!figures) return "";
  if (figures.text) return signed(figures.text);
  const parts = [];
  if (figures.low !== null && figures.low === figures.high) {
    parts.push(`all ${number(figures.low)}`);
  } else if (figures.mean !== null) {
    parts.push(
      `mean ${number(figures.mean)}, from ${number(figures.low)} to ${number(figures.high)}`,
    );
  }
  for (const what of ["nan", "inf"]) {
    if (figures[what]) parts.push(`${figures[what].toLocaleString("en")} ${what}`);
  }
  return parts.join(", ");
}

function share(part, whole) {
  if (!part) return "none";
  const percent = (100 * part) / whole;
  return `${part.toLocaleString("en")} (${percent < 1 ? "< 1" : Math.round(percent)} %)`;
}

function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : word.endsWith("x") ? "es" : "s"}`;
}

/** Cut off what is too long for a line. */
function shortened(text, longest) {
  const signs = [...text];
  return signs.length > longest ? `${signs.slice(0, longest - 1).join("")}…` : text;
}
