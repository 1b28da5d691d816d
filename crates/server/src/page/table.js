// One dynamic table: its state, definition, operators with rules and reasons, history as a chart, and what can be done.

import { ask, get, name as nameOf, post } from "./api.js";
import { duration, el, grid, moment, mood, notice, number, problem, state } from "./dom.js";

const WIDTH = 760, HEIGHT = 110, LEFT = 4, BOTTOM = 4;

/** Bars for one figure of each refresh, the oldest first. */
function chart(title, refreshes, value, say, line) {
  const values = refreshes.map(value);
  const highest = Math.max(...values.filter((known) => known !== null), line ?? 0, 1e-9);
  const step = (WIDTH - LEFT - 6) / Math.max(refreshes.length, 20);
  const y = (known) => HEIGHT - BOTTOM - (known / highest) * (HEIGHT - BOTTOM - 6);
  const bars = refreshes.map((refresh, index) => {
    const known = values[index];
    if (known === null) return null;
    const kind = refresh.state === "FAILED" ? ".bad" : refresh.action === "NO_DATA" ? ".none" : refresh.action === "INCREMENTAL" ? "" : ".full";
    return el(`rect.bar${kind}`, { x: LEFT + index * step, y: y(known), width: Math.max(1, step - 2), height: Math.max(1, HEIGHT - BOTTOM - y(known)) },
      el("title", { svg: true }, `${moment(refresh.started_at)} · ${refresh.action ?? refresh.state} · ${say(known)}`));
  });
  const most = Math.max(0, ...values.filter((known) => known !== null));
  return el("figure.card", {},
    el("figcaption.label", {}, `${title} · at most ${say(most)}${line ? ` · target ${say(line)}, dashed` : ""}`),
    el("svg.chart", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${title} of the last ${refreshes.length} refreshes` },
      el("line.axis", { x1: LEFT, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      line && el("line.target", { x1: LEFT, x2: WIDTH, y1: y(line), y2: y(line) }),
      bars));
}

function facts(table) {
  const fact = (label, value) => el("div.card", {}, el("span.label", {}, label), el("span.fact", {}, value));
  return el("div.grid", {},
    fact("Lag", duration(table.current_lag_seconds)), fact("Target lag", table.target_lag),
    fact("Refresh mode", table.refresh_mode), fact("Rows", number(table.rows)),
    fact("Data version", table.data_version ?? "–"), fact("Data of", moment(table.data_timestamp)),
    fact("Last refresh", `${table.last_refresh_status ?? "–"} ${table.last_refresh_action ?? ""}`));
}

function tree(explained) {
  const line = (node) => el("li", {},
    "\u00a0".repeat(node.depth * 3), node.operator, " ",
    node.rule && el("span.rule", {}, `[${node.rule}]`),
    node.reason && el("span.reason", {}, ` not incremental: ${node.reason}${node.line ? ` (line ${node.line}, column ${node.column})` : ""}`));
  return el("div", {},
    el("ul.tree.card.scroll", { tabindex: 0 }, explained.tree.map(line)),
    explained.choice && el("p", {}, `Next refresh: ${explained.choice.action}: ${explained.choice.reason}`),
    explained.rewrites.map((way) => el("details", {}, el("summary", {}, `Better written ${way.change}`), el("pre", {}, way.query))));
}

export async function tableView(name, redraw) {
  const path = `/dynamic-tables/${encodeURIComponent(name)}`;
  const [table, history] = await Promise.all([get(path), get(`${path}/history?limit=120`)]);
  const explained = el("div", {}, el("p.none", {}, "Explaining …"));
  get(`${path}/explain`).then((told) => explained.replaceChildren(tree(told)), (failure) => explained.replaceChildren(problem(failure)));

  const outcome = el("div", { "aria-live": "polite" });
  const act = (label, work) => {
    const button = el("button", { type: "button", onclick: async () => {
      button.disabled = true;
      try { await work(); } catch (failure) { outcome.replaceChildren(problem(failure)); }
      button.disabled = false;
    } }, label);
    return button;
  };
  const task = async (verb, body) => {
    outcome.replaceChildren(el("p.none", {}, "Running …"));
    let now = await post(`${path}/${verb}`, body);
    while (["PENDING", "STARTED", "PROGRESS"].includes(now.state)) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      now = await get(`/tasks/${now.id}`);
    }
    if (now.error) { outcome.replaceChildren(problem({ problem: now.error })); return null; }
    return now;
  };
  const refresh = async (full) => {
    const done = await task("refresh", { full });
    if (!done) return;
    notice(`${name} refreshed`);
    redraw();
  };
  const suspended = table.scheduling_state === "SUSPENDED";
  const buttons = el("div.row", {},
    act("Refresh", () => refresh(false)), act("Refresh in full", () => refresh(true)),
    act("Dry run", async () => {
      const done = await task("dry-run", {});
      if (!done) return;
      outcome.replaceChildren(grid([
        ["Table", (run) => run.name], ["Would be", (run) => run.action ?? state("fails", "bad")],
        ["Rows in", (run) => number(run.rows_inserted), true], ["Rows out", (run) => number(run.rows_deleted), true],
        ["Why", (run) => run.error?.detail ?? run.reason, "long"],
      ], done.result, "Nothing would be done."));
    }),
    act("Verify", async () => {
      const done = await task("verify", {});
      if (!done) return;
      outcome.replaceChildren(grid([
        ["Table", (one) => one.name], ["Equal", (one) => (one.skipped ? one.skipped : one.equal ? state("equal", "good") : state("differs", "bad"))],
        ["Rows", (one) => number(one.rows), true], ["Missing", (one) => number(one.missing), true], ["Surplus", (one) => number(one.surplus), true],
      ], done.result, "Nothing was compared."));
    }),
    act(suspended ? "Resume" : "Suspend", async () => {
      const done = await ask("POST", `${path}/${suspended ? "resume" : "suspend"}`);
      notice(done.done.join("; "));
      redraw();
    }));

  const past = [...history].reverse();
  const links = (names) => names.map((other, index) => [index ? ", " : "", el("a", { href: `#/table/${encodeURIComponent(other)}` }, other)]);
  return el("div", {},
    el("div.row", {}, el("h1", {}, name), state(table.scheduling_state, mood(table))),
    table.comment && el("p", {}, table.comment),
    table.suspended_reason && el("p", {}, `Suspended: ${table.suspended_reason}`),
    table.last_error && el("div.problem", {}, el("strong", {}, "Last error "), table.last_error),
    buttons, outcome, facts(table),
    el("h2", {}, "History"),
    past.length === 0 ? el("p.none", {}, "It has not been refreshed yet.") : el("div", {},
      chart("Duration", past, (refresh) => refresh.duration_seconds, duration),
      chart("Rows in and out", past, (refresh) => (refresh.rows_inserted ?? 0) + (refresh.rows_deleted ?? 0), number),
      chart("Lag before the refresh", past, (refresh) => refresh.lag_before_seconds, duration, table.target_lag_seconds),
      el("details", {}, el("summary", {}, `The refreshes (${history.length})`), grid([
        ["Began", (refresh) => moment(refresh.started_at)], ["State", (refresh) => refresh.state], ["Action", (refresh) => refresh.action],
        ["Took", (refresh) => duration(refresh.duration_seconds), true], ["In", (refresh) => number(refresh.rows_inserted), true],
        ["Out", (refresh) => number(refresh.rows_deleted), true], ["Why", (refresh) => refresh.error_message ?? refresh.reason, "long"],
      ], history, ""))),
    el("h2", {}, "How it is refreshed"), explained,
    el("h2", {}, "Definition"), el("pre", { tabindex: 0 }, table.statement),
    el("p", {}, "Reads ", table.sources.map((source, index) => [index ? ", " : "", source.kind === "DYNAMIC_TABLE" ? links([source.name]) : source.name]),
      table.readers.length ? [". Read by ", links(table.readers)] : "", "."),
    el("h2", {}, "Columns"),
    grid([["Name", (column) => column.name], ["Type", (column) => column.type]], table.columns, "No columns are known yet."));
}

export async function tablesView() {
  const tables = await get("/dynamic-tables");
  const rows = el("div");
  const find = el("input", { type: "search", placeholder: "Find a table", "aria-label": "Find a table" });
  const show = () => {
    const part = find.value.toLowerCase();
    const fitting = tables.filter((table) => `${table.schema}.${table.name}`.toLowerCase().includes(part));
    rows.replaceChildren(grid([
      ["Table", (table) => el("a", { href: `#/table/${nameOf(table)}` }, `${table.schema}.${table.name}`)],
      ["State", (table) => state(table.scheduling_state, mood(table))],
      ["Lag", (table) => duration(table.current_lag_seconds), true], ["Target", (table) => table.target_lag],
      ["Mode", (table) => table.refresh_mode], ["Rows", (table) => number(table.rows), true],
      ["Last refresh", (table) => moment(table.last_refresh_time)], ["Last error", (table) => table.last_error, "long"],
    ], fitting, "No dynamic table fits."));
  };
  find.addEventListener("input", show);
  show();
  return el("div", {}, el("div.row", {}, el("h1", {}, "Tables"), find, el("span.label", {}, `${tables.length} dynamic tables`)), rows);
}
