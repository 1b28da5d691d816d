// Asking the server. Knows the token, nothing of what is shown.

const KEY = "dynamic-tables-token";

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

/** A failure as the server tells it (RFC 9457). */
export class Problem extends Error {
  constructor(problem) {
    super(problem.detail ?? "the server does not answer");
    this.problem = problem;
  }
}

export async function ask(method, path, body, options = {}) {
  const headers = { ...options.headers };
  if (token.get()) headers.authorization = `Bearer ${token.get()}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    const sent = body === undefined ? undefined : JSON.stringify(body);
    response = await fetch(`/api/v1${path}`, { method, headers, body: sent, signal: options.signal });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Problem({ detail: "the server does not answer", code: "CONNECTION", status: 0 });
  }
  if (!response.ok) {
    const text = await response.text();
    let problem;
    try { problem = JSON.parse(text); } catch { problem = { detail: `status ${response.status}`, code: "INTERNAL" }; }
    throw new Problem({ ...problem, status: response.status });
  }
  return options.raw ? response : response.json();
}

export const get = (path, options) => ask("GET", path, undefined, options);
export const post = (path, body = {}, options) => ask("POST", path, body, options);
export const name = (table) => encodeURIComponent(`${quote(table.schema)}.${quote(table.name)}`);
export const quote = (part) => (/^[a-z_][a-z0-9_]*$/.test(part) ? part : `"${part.replaceAll('"', '""')}"`);

/** Calls `hear` for every change of a task, again and again, also after the connection was lost. */
export async function listen(hear, signal) {
  while (!signal.aborted) {
    try {
      const response = await ask("GET", "/events", undefined, { raw: true, signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const data = event.split("\n").find((line) => line.startsWith("data:"));
          if (data) hear(JSON.parse(data.slice(5)));
        }
      }
    } catch (failure) {
      if (failure instanceof Problem && failure.problem.status === 401) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}
