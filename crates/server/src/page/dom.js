// Making elements. Text becomes text nodes and never markup, wherever it comes from.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "rect", "path", "line", "text", "title", "circle", "polyline"]);

/** An element: `el("p.soft", { title: "x" }, "text", child)`. */
export function el(tag, attributes = {}, ...children) {
  const [bare, ...classes] = tag.split(".");
  const isSvg = SVG_TAGS.has(bare) || attributes.svg;
  const element = isSvg ? document.createElementNS(SVG, bare) : document.createElement(bare);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "svg" || value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A table of rows; a column is [title, what to show, whether it is a number]. */
export function grid(columns, rows, nothing) {
  if (rows.length === 0) return el("p.none", {}, nothing);
  const kind = (column) => (column[2] === true ? { class: "number" } : column[2] ? { class: column[2] } : {});
  const head = el("tr", {}, columns.map((column) => el("th", { scope: "col", ...kind(column) }, column[0])));
  const body = rows.map((row) => el("tr", {}, columns.map((column) => {
    const shown = column[1](row);
    return el("td", kind(column), shown === null || shown === undefined || shown === "" ? "–" : shown);
  })));
  return el("div.scroll.card", { tabindex: 0 }, el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
}

export const state = (text, mood) => el(`span.state.${mood}`, {}, text);

/** Seconds as a person says them. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.round((seconds % 86400) / 3600)} h`;
}

export const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));
export const moment = (text) => (text ? new Date(text).toLocaleString("sv") : "–");

/** How a table is: well, late, failed, or not at work. */
export function mood(table) {
  if (!table) return "idle";
  if (table.last_error) return "bad";
  if (table.scheduling_state !== "RUNNING") return "idle";
  const { current_lag_seconds: lag, target_lag_seconds: target } = table;
  if (lag !== null && target !== null && lag > target) return "warn";
  return "good";
}

export function problem(failure) {
  const told = failure.problem ?? { detail: String(failure.message ?? failure), code: "INTERNAL" };
  return el("div.problem", { role: "alert" },
    el("strong", {}, told.code), ` ${told.detail}`,
    told.place && el("pre", {}, told.place.excerpt),
    told.hint && el("div", {}, told.hint));
}

export function notice(text, isBad) {
  const shown = el(isBad ? "div.bad" : "div", {}, text);
  document.getElementById("notice").append(shown);
  setTimeout(() => shown.remove(), isBad ? 12000 : 6000);
}
