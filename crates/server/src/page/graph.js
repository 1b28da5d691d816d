// The graph of sources and tables: layers from left to right, each table with its lag against its target.

import { get } from "./api.js";
import { duration, el, mood } from "./dom.js";

const WIDTH = 190, HEIGHT = 46, COLUMN = 250, ROW = 60, MARGIN = 12;

/** Which layer a node is in: one behind the last of those that it reads. */
function layers(count, edges) {
  const layer = new Array(count).fill(0);
  // Sources come first and readers behind what they read, so one pass is enough.
  for (const [source, reader] of [...edges].sort((a, b) => a[1] - b[1] || a[0] - b[0])) {
    layer[reader] = Math.max(layer[reader], layer[source] + 1);
  }
  return layer;
}

/** Where each node stands, with as few crossings as a few passes give, and by which points each edge goes. */
export function place(count, edges) {
  const layer = layers(count, edges);
  // An edge over several layers gets a place of its own in each, so that it does not run behind a box.
  const links = [];
  const routes = edges.map(([source, reader]) => {
    const route = [source];
    for (let at = layer[source] + 1; at < layer[reader]; at += 1) route.push(layer.push(at) - 1);
    route.push(reader);
    for (let step = 1; step < route.length; step += 1) links.push([route[step - 1], route[step]]);
    return route;
  });
  const columns = [];
  layer.forEach((number, node) => (columns[number] ??= []).push(node));
  const row = new Array(layer.length);
  const near = Array.from({ length: layer.length }, () => []);
  for (const [source, reader] of links) { near[source].push(reader); near[reader].push(source); }
  const number = () => columns.forEach((nodes) => nodes.forEach((node, index) => { row[node] = index; }));
  number();
  for (let pass = 0; pass < 4; pass += 1) {
    for (const nodes of columns) {
      const middle = new Map(nodes.map((node) => {
        const rows = near[node].map((other) => row[other]);
        return [node, rows.length ? rows.reduce((sum, at) => sum + at, 0) / rows.length : row[node]];
      }));
      nodes.sort((a, b) => middle.get(a) - middle.get(b) || a - b);
      number();
    }
  }
  const tallest = Math.max(1, ...columns.map((nodes) => nodes.length));
  const at = layer.map((column, node) => ({
    x: MARGIN + column * COLUMN,
    y: MARGIN + (row[node] + (tallest - columns[column].length) / 2) * ROW,
  }));
  return { at, routes, width: MARGIN * 2 + (columns.length - 1) * COLUMN + WIDTH, height: MARGIN * 2 + tallest * ROW };
}

/** A curve from box to box, straight through the places that are its own. */
function curve(route, at) {
  const middle = (node) => at[node].y + HEIGHT / 2;
  return route.slice(1).reduce((path, node, step) => {
    const from = { x: at[route[step]].x + WIDTH, y: middle(route[step]) }, to = { x: at[node].x, y: middle(node) };
    const bend = (to.x - from.x) / 2;
    const end = step + 2 < route.length ? `H${to.x + WIDTH}` : "";
    return `${path}C${from.x + bend} ${from.y} ${to.x - bend} ${to.y} ${to.x} ${to.y}${end}`;
  }, `M${at[route[0]].x + WIDTH} ${middle(route[0])}`);
}

const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function box(node, at) {
  const table = node.table;
  const feeling = table ? mood(table) : "source";
  const target = table?.target_lag_seconds ?? null, lag = table?.current_lag_seconds ?? null;
  const used = target ? Math.min(1, (lag ?? 0) / target) : 0;
  const said = table
    ? `${duration(lag)} of ${table.target_lag}${table.scheduling_state === "RUNNING" ? "" : ` · ${table.scheduling_state.toLowerCase()}`}`
    : node.kind.toLowerCase();
  const drawing = el(`g.${feeling}`, { transform: `translate(${at.x} ${at.y})` },
    el("title", { svg: true }, `${node.name}: ${said}${table?.last_error ? `\n${table.last_error}` : ""}`),
    el("rect.box", { width: WIDTH, height: HEIGHT, rx: table ? 8 : 0 }),
    el("text", { x: 10, y: 19 }, short(node.name.replace(/^main\./, ""), 24)),
    el("text.sub", { x: 10, y: 34 }, short(said, 32)),
    table && target && el("rect.bar", { x: 10, y: 39, width: WIDTH - 20, height: 3 }),
    table && target && el("rect.used", { x: 10, y: 39, width: (WIDTH - 20) * used, height: 3 }));
  if (!table) return drawing;
  const link = el("a", { svg: true, href: `#/table/${encodeURIComponent(node.name)}`, "aria-label": `${node.name}: ${said}` }, drawing);
  return link;
}

export function draw(graph) {
  const { at, routes, width, height } = place(graph.nodes.length, graph.edges);
  const edges = routes.map((route) => el("path.edge", { d: curve(route, at) }));
  const boxes = graph.nodes.map((node, index) => {
    const drawn = box(node, at[index]);
    const near = graph.edges.flatMap((edge, number) => (edge.includes(index) ? [edges[number]] : []));
    const mark = (on) => () => near.forEach((edge) => edge.classList.toggle("near", on));
    for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focus", true], ["blur", false]]) {
      drawn.addEventListener(event, mark(on));
    }
    return drawn;
  });
  return el("svg.graph", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "Graph of tables" }, edges, boxes);
}

/** The nodes whose name contains a text or that are in trouble, and what is around those. */
export function around(graph, text, onlyTrouble) {
  if (!text && !onlyTrouble) return graph;
  const wanted = new Set(graph.nodes.flatMap((node, index) => {
    const named = node.name.toLowerCase().includes(text.toLowerCase());
    return named && (!onlyTrouble || ["bad", "warn"].includes(mood(node.table))) ? [index] : [];
  }));
  const kept = new Set(wanted);
  for (const [source, reader] of graph.edges) {
    if (wanted.has(source)) kept.add(reader);
    if (wanted.has(reader)) kept.add(source);
  }
  const order = [...kept].sort((a, b) => a - b);
  const renumbered = new Map(order.map((node, index) => [node, index]));
  return {
    nodes: order.map((node) => graph.nodes[node]),
    edges: graph.edges.filter((edge) => edge.every((end) => kept.has(end))).map((edge) => edge.map((end) => renumbered.get(end))),
  };
}

export async function graphView() {
  const graph = await get("/graph");
  if (graph.nodes.length === 0) {
    return el("p.none", {}, "There is no dynamic table yet. Create one in the SQL console.");
  }
  const canvas = el("div.scroll.card");
  const find = el("input", { type: "search", placeholder: "Find a table", "aria-label": "Find a table" });
  const trouble = el("input", { type: "checkbox" });
  const show = () => {
    const part = around(graph, find.value, trouble.checked);
    canvas.replaceChildren(part.nodes.length ? draw(part) : el("p.none", {}, "Nothing fits."));
  };
  find.addEventListener("input", show);
  trouble.addEventListener("change", show);
  show();
  const tables = graph.nodes.filter((node) => node.table).length;
  return el("div", {},
    el("div.row", {}, el("h1", {}, "Graph"), find, el("label", {}, trouble, "only late or failed"),
      el("span.label", {}, `${tables} dynamic tables, ${graph.nodes.length - tables} sources`)),
    canvas);
}
