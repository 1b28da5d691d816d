// The SQL console: a text with completion, its result as a table, downloads.

import { Problem, ask, get, post } from "./api.js";
import { el, grid, problem } from "./dom.js";

const SHOWN = 1000;
const WORDS = ["SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "JOIN", "LEFT JOIN", "USING", "DISTINCT", "UNION ALL",
  "WITH", "count", "sum", "avg", "min", "max", "CREATE DYNAMIC TABLE", "TARGET_LAG", "REFRESH_MODE", "ALTER DYNAMIC TABLE", "DROP DYNAMIC TABLE",
  "SHOW DYNAMIC TABLES", "DESCRIBE DYNAMIC TABLE", "EXPLAIN DYNAMIC TABLE", "SUSPEND", "RESUME", "REFRESH", "INTERVAL", "BETWEEN", "QUALIFY"];

let kept = { sql: "", consistent: false };
let known = null;

async function words() {
  if (!known) {
    const tables = await get("/tables").catch(() => []);
    const entries = new Map(WORDS.map((word) => [word.toLowerCase(), { word, kind: "" }]));
    for (const table of tables) {
      for (const column of table.columns) entries.set(`c ${column.name}`, { word: column.name, kind: column.type });
    }
    for (const table of tables) {
      const word = table.schema === "main" ? table.name : `${table.schema}.${table.name}`;
      entries.set(`t ${word}`, { word, kind: "table" });
    }
    known = [...entries.values()];
  }
  return known;
}

/** Shows words that begin like the one before the cursor; Tab or Enter takes one. */
function completion(text) {
  const list = el("ul.words", { role: "listbox", id: "words", hidden: true, "aria-label": "Completion" });
  let fitting = [], chosen = 0, begun = "";
  const close = () => { list.hidden = true; fitting = []; text.setAttribute("aria-expanded", "false"); };
  const take = (entry) => {
    const at = text.selectionStart;
    text.setRangeText(entry.word, at - begun.length, at, "end");
    close();
    text.focus();
  };
  const show = () => {
    list.replaceChildren(...fitting.map((entry, index) => el("li", {
      role: "option", id: `word-${index}`, "aria-selected": String(index === chosen),
      onmousedown: (event) => { event.preventDefault(); take(entry); },
    }, entry.word, el("small", {}, entry.kind))));
    list.hidden = fitting.length === 0;
    text.setAttribute("aria-expanded", String(fitting.length > 0));
    text.setAttribute("aria-activedescendant", fitting.length ? `word-${chosen}` : "");
    list.children[chosen]?.scrollIntoView({ block: "nearest" });
  };
  text.addEventListener("input", async () => {
    begun = text.value.slice(0, text.selectionStart).match(/[\p{L}_][\p{L}\p{N}_.]*$/u)?.[0] ?? "";
    if (begun.length < 2) return close();
    const all = await words(), lower = begun.toLowerCase();
    const wantsTable = /\b(from|join|table)\s+[^\s,()]*$/i.test(text.value.slice(0, text.selectionStart));
    const rank = ({ kind }) => (wantsTable && kind === "table" ? 0 : 1);
    fitting = all.filter(({ word }) => word.toLowerCase().startsWith(lower) && word.toLowerCase() !== lower);
    fitting = fitting.sort((a, b) => rank(a) - rank(b)).slice(0, 12);
    chosen = 0;
    show();
  });
  text.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : fitting.length - 1)) % fitting.length;
      show();
    } else if (event.key === "Tab" || (event.key === "Enter" && !event.ctrlKey && !event.metaKey)) take(fitting[chosen]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  text.addEventListener("blur", close);
  text.addEventListener("run", close);
  return list;
}

function table(result) {
  const columns = result.columns.map((column) => [
    el("span", { title: column.type }, column.name),
    (row) => (row[column.name] === null ? el("span.none", {}, "NULL") : typeof row[column.name] === "object" ? JSON.stringify(row[column.name]) : String(row[column.name])),
    /^(U?Int|Float|Decimal)/.test(column.type),
  ]);
  return grid(columns, result.rows, `No rows. Columns: ${result.columns.map((column) => column.name).join(", ")}`);
}

export function consoleView() {
  const text = el("textarea", {
    spellcheck: "false", autocapitalize: "off", "aria-label": "SQL", placeholder: "SELECT …", value: kept.sql,
    role: "combobox", "aria-controls": "words", "aria-expanded": "false", "aria-autocomplete": "list",
  });
  const consistent = el("input", { type: "checkbox" });
  consistent.checked = kept.consistent;
  const format = el("select", { "aria-label": "Download as" }, ["csv", "parquet", "arrow", "jsonl"].map((one) => el("option", { value: one }, one)));
  const result = el("div", { "aria-live": "polite" });
  let running = null;
  const request = (more) => {
    kept = { sql: text.value, consistent: consistent.checked };
    return { sql: text.value, consistent: consistent.checked, ...more };
  };
  const stop = el("button", { type: "button", disabled: true, onclick: () => running?.abort() }, "Stop");
  const run = el("button.main", { type: "button", title: "Ctrl+Enter" }, "Run");
  const start = async () => {
    text.dispatchEvent(new Event("run"));
    running?.abort();
    const mine = running = new AbortController();
    stop.disabled = false;
    result.replaceChildren(el("p.none", {}, "Running …"));
    const began = performance.now();
    try {
      const response = await ask("POST", "/sql", request({ limit: SHOWN, format: "json" }), { raw: true, signal: mine.signal });
      const version = response.headers.get("x-data-version");
      let told = await response.json();
      while (response.status === 202 && ["PENDING", "STARTED", "PROGRESS"].includes(told.state)) {
        await new Promise((resolve) => setTimeout(resolve, 250));
        told = await get(`/tasks/${told.id}`, { signal: mine.signal });
      }
      if (mine !== running) return;
      if (told.error) throw new Problem(told.error);
      const took = `${Math.round(performance.now() - began)} ms`;
      if (!told.columns || !told.rows) {
        known = null;
        result.replaceChildren(el("p", {}, `Done in ${took}.`), el("pre", { tabindex: 0 }, JSON.stringify(told.result ?? told, null, 2)));
        return;
      }
      const rows = `${told.row_count} ${told.row_count === 1 ? "row" : "rows"}${told.truncated ? ", more are there" : ""}`;
      result.replaceChildren(el("p.label", {}, `${rows} · ${took}${version ? ` · data version ${version}` : ""}`), table(told));
    } catch (failure) {
      if (mine !== running) return;
      result.replaceChildren(failure.name === "AbortError" ? el("p.none", {}, "Stopped.") : problem(failure));
      const place = failure.problem?.place;
      if (place) {
        // The place is in bytes, the text in UTF-16.
        const before = new TextDecoder().decode(new TextEncoder().encode(text.value).slice(0, place.offset)).length;
        text.focus();
        text.setSelectionRange(before, before + Math.max(1, place.length));
      }
    } finally {
      if (mine === running) { stop.disabled = true; running = null; }
    }
  };
  run.addEventListener("click", start);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); start(); }
  });
  const download = el("button", { type: "button", onclick: async () => {
    try {
      const response = await ask("POST", "/sql", request({ format: format.value }), { raw: true });
      const url = URL.createObjectURL(await response.blob());
      el("a", { href: url, download: `result.${format.value}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    } catch (failure) { result.replaceChildren(problem(failure)); }
  } }, "Download");
  setTimeout(() => text.focus());
  return el("div", {}, el("h1", {}, "SQL"),
    el("div.editor", {}, text, completion(text)),
    el("div.row", {}, run, stop, el("label", {}, consistent, "one consistent cut"), format, download,
      el("span.label.wide", {}, "Ctrl+Enter runs · queries only read")),
    result);
}
