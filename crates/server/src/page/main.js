// Which view is shown, and what all views share: the token, tasks as they change.

import { get, listen, token } from "./api.js";
import { consoleView } from "./console.js";
import { duration, el, grid, moment, notice, problem, state } from "./dom.js";
import { graphView } from "./graph.js";
import { tableView, tablesView } from "./table.js";

const main = document.getElementById("main");
const tasks = new Map();
let shown = 0;

const moods = { SUCCESS: "good", FAILURE: "bad", REVOKED: "idle" };

async function activityView() {
  const [workers, list] = await Promise.all([get("/workers"), get("/tasks")]);
  for (const task of list) tasks.set(task.id, task);
  const rows = el("div");
  const show = () => rows.replaceChildren(grid([
    ["Asked for", (task) => moment(task.created_at)], ["Task", (task) => task.kind], ["Tables", (task) => task.tables.join(", ") || "all", "long"],
    ["State", (task) => state(task.state, moods[task.state] ?? "warn")], ["At", (task) => task.error?.detail ?? (["STARTED", "PROGRESS"].includes(task.state) ? task.step : ""), "long"], ["By", (task) => task.requested_by],
    ["", (task) => (moods[task.state] ? "" : el("button", { type: "button", onclick: () => cancel(task) }, "Cancel"))],
  ], [...tasks.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, 200), "Nothing was asked for yet."));
  onTask = show;
  show();
  return el("div", {}, el("h1", {}, "Activity"), el("h2", {}, "Workers"),
    grid([
      ["Worker", (worker) => worker.id], ["State", (worker) => state(worker.is_live ? worker.state : "LOST", worker.is_live ? "good" : "bad")],
      ["Host", (worker) => worker.host], ["At once", (worker) => String(worker.concurrency), true], ["Queues", (worker) => worker.queues.join(", ") || "all"],
      ["Refreshes", (worker) => worker.claims.join(", "), "long"],
      ["Last sign of life", (worker) => `${duration((Date.now() - new Date(worker.heartbeat_at)) / 1000)} ago`],
    ], workers, "No worker has reported: nothing is refreshed by itself."),
    el("h2", {}, "Tasks"), rows);
}

async function cancel(task) {
  const { ask } = await import("./api.js");
  try { await ask("DELETE", `/tasks/${task.id}`); } catch (failure) { notice(failure.message, true); }
}

let onTask = () => {};

function login(failure) {
  const input = el("input", { type: "password", "aria-label": "Token", autocomplete: "off" });
  const form = el("form.row", { onsubmit: (event) => {
    event.preventDefault();
    token.set(input.value.trim());
    begin();
  } }, input, el("button.main", {}, "Use token"));
  main.replaceChildren(el("h1", {}, "This server asks for a token"), token.get() ? problem(failure) : "", form);
  input.focus();
}

const views = { graph: graphView, tables: tablesView, table: (name) => tableView(name, () => draw()), sql: consoleView, activity: activityView };

async function draw() {
  const [, view = "graph", ...rest] = location.hash.split("/");
  const mine = (shown += 1);
  onTask = () => {};
  for (const link of document.querySelectorAll("nav a")) {
    const own = link.getAttribute("href") === `#/${view === "table" ? "tables" : view}`;
    own ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  try {
    const made = await (views[view] ?? graphView)(decodeURIComponent(rest.join("/")));
    if (mine !== shown) return;
    main.replaceChildren(made);
    document.title = `${main.querySelector("h1")?.textContent ?? "Graph"} · dynamic-tables`;
  } catch (failure) {
    if (mine !== shown) return;
    if (failure.problem?.status === 401) return login(failure);
    main.replaceChildren(problem(failure));
  }
}

let listening = new AbortController();

function begin() {
  listening.abort();
  listening = new AbortController();
  listen((task) => {
    tasks.set(task.id, task);
    const open = [...tasks.values()].filter((one) => !moods[one.state]).length;
    document.getElementById("running").textContent = open ? `${open} ${open === 1 ? "task runs" : "tasks run"}` : "";
    if (task.state === "FAILURE") notice(`${task.kind} ${task.tables.join(", ")}: ${task.error.detail}`, true);
    onTask();
  }, listening.signal);
  draw();
}

addEventListener("hashchange", () => { draw(); main.focus(); });
// What is looked at stays true; who types is left alone.
setInterval(() => {
  const view = location.hash.split("/")[1] ?? "graph";
  const busy = document.hidden || ["INPUT", "TEXTAREA", "BUTTON"].includes(document.activeElement?.tagName);
  if (["graph", "activity", ""].includes(view) && !busy && getSelection().isCollapsed && scrollY === 0) draw();
}, 15000);
begin();
