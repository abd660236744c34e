// Small helpers. Text only ever enters the page as text nodes, so no trajectory can bring markup.

const byId = (id) => document.getElementById(id);

/** An element with attributes and children; a child that is no node becomes text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    const spelled = name.startsWith("aria-"); // these say "true" and "false" in words
    if (value === null || value === undefined || (value === false && !spelled)) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true && !spelled ? "" : String(value));
  }
  fill(element, children);
  return element;
}

function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** An SVG element. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  fill(element, children);
  return element;
}

/** A number for reading: three significant digits, a real minus sign. */
function figure(value, sign = false) {
  if (value === null || value === undefined) return "none";
  const size = Math.abs(value);
  let text;
  if (Number.isInteger(value) && size < 1e6) text = String(size);
  else if (size >= 1e5 || (size < 1e-3 && size > 0)) text = size.toExponential(1);
  else if (size >= 100) text = size.toFixed(0);
  else text = size.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3);
  return (value < 0 ? "\u2212" : sign && value > 0 ? "+" : "") + text;
}

/** Background for a signed value: blue above zero, vermilion below, opacity by size. */
function tint(value, scale) {
  if (!value || !scale) return "";
  const part = Math.min(Math.abs(value) / scale, 1);
  return `rgb(var(--${value > 0 ? "plus" : "minus"}) / calc(var(--tint) * ${part.toFixed(3)}))`;
}

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
