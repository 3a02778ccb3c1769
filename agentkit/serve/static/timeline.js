// What happened when: rows of a run as bars, each from when it began to when it ended. No elements here.

/** @typedef {{ message?: number, at: number }} Turn where its reply is stored, or when it came */
/** @typedef {{ name: string, from: number, to?: number, kind: string, depth: number, note: string, turn?: Turn, vague?: boolean }} Bar
 * `vague` where it is only known that it was no longer */
/** @typedef {{ bars: Bar[], from: number, to: number, turns: number, calls: number, usage: any }} Timeline */

/**
 * Divide rows into runs: one begins with each message of the user.
 * @param {any[]} rows
 */
export function runsOf(rows) {
  /** @type {{ title: string, rows: any[] }[]} */ const runs = [];
  for (const row of rows) {
    if (row.type === "user" || !runs.length) runs.push({ title: row.text || "Session", rows: [] });
    runs[runs.length - 1].rows.push(row);
  }
  return runs;
}

/**
 * Make the bars of a run.
 * @param {any[]} rows @param {number} now when it isn't over yet, else 0 @returns {Timeline | null}
 */
export function timeline(rows, now) {
  const times = rows.map((row) => row.at).filter(Boolean);
  if (!times.length) return null;
  const from = Math.min(...times);
  const maker = new Maker(from);
  rows.forEach((row) => maker.take(row));
  return { ...maker.done, from, to: Math.max(from + 0.001, now, ...times) };
}

class Maker {
  /** @param {number} from */
  constructor(from) {
    this.done = { bars: /** @type {Bar[]} */ ([]), turns: 0, calls: 0, usage: { in: 0, out: 0, cached: 0, cost: 0, estimated: false } };
    /** @type {Map<string, Bar>} */ this.calls = new Map();
    /** @type {Map<string, number>} */ this.asked = new Map([["", from]]);
    /** @type {Bar | undefined} */ this.waiting = undefined;
  }

  /** @param {any} row */
  take(row) {
    /** @type {any} */ (this)["on_" + row.type]?.(row, (row.within || []).join("/"));
  }

  /** @param {any} row */
  on_begin(row) {
    this.asked.set("", row.at);
    if (this.waiting) this.waiting.to = row.at;
    this.waiting = undefined;
  }

  /** @param {any} row */
  on_pending(row) {
    if (row.at) this.done.bars.push((this.waiting = { name: "waits for you", from: row.at, kind: "wait", depth: 0, note: "" }));
  }

  /** @param {any} row @param {string} scope */
  on_tool_started(row, scope) {
    if (row.waits) return;
    const again = this.calls.get(row.callId);
    if (again) again.to = undefined;
    else {
      const bar = { name: row.name, from: row.at, kind: "tool", depth: scope ? 1 : 0, note: JSON.stringify(row.args).slice(0, 300) };
      this.calls.set(row.callId, bar);
      this.done.bars.push(bar);
      this.done.calls += 1;
    }
    this.asked.set(`${row.callId}/${row.name}`, row.at);
  }

  /** @param {any} row @param {string} scope */
  on_tool_finished(row, scope) {
    const bar = this.calls.get(row.callId);
    if (bar) {
      bar.to = row.at;
      if (row.seconds !== null) bar.from = Math.max(bar.from, row.at - row.seconds);
      else bar.vague = true;
      if (row.failed && !row.waits) bar.kind = "failed";
    }
    this.asked.set(scope, Math.max(this.asked.get(scope) ?? 0, row.at));
  }

  /** @param {any} row @param {string} scope */
  on_server_tool_started(row, scope) {
    const note = JSON.stringify(row.args).slice(0, 300);
    const bar = { name: row.name, from: row.at, to: row.at, kind: "tool", depth: scope ? 2 : 1, note };
    this.calls.set(row.callId, bar);
    this.done.bars.push(bar);
  }

  /** @param {any} row */
  on_server_tool_finished(row) {
    const bar = this.calls.get(row.callId);
    if (bar) Object.assign(bar, { to: row.at, kind: row.failed ? "failed" : "tool" });
  }

  /** @param {any} row @param {string} scope */
  on_model_retry(row, scope) {
    const name = `retry: ${row.reason}`;
    this.done.bars.push({ name, from: row.at, to: row.at + row.delay, kind: "wait", depth: scope ? 1 : 0, note: row.reason });
  }

  /** @param {any} row @param {string} scope */
  on_request_delayed(row, scope) {
    this.done.bars.push({ name: "rate limit", from: row.at, to: row.at + row.seconds, kind: "wait", depth: scope ? 1 : 0, note: "" });
  }

  /** @param {any} row @param {string} scope */
  on_turn_finished(row, scope) {
    const { done } = this;
    const known = this.asked.get(scope) ?? this.asked.get("") ?? row.at;
    const bar = { name: row.model || "model", from: Math.min(known, row.at), to: row.at, kind: "model", depth: scope ? 1 : 0, note: "" };
    if (!scope) Object.assign(bar, { turn: { message: row.message, at: row.at }, name: `${bar.name}, turn ${done.turns + 1}` });
    if (!scope) done.turns += 1;
    bar.note = `${row.usage.in} in, ${row.usage.cached} cached, ${row.usage.out} out`;
    done.bars.push(bar);
    this.asked.set(scope, row.at);
    for (const each of /** @type {const} */ (["in", "out", "cached", "cost"])) done.usage[each] += row.usage[each] || 0;
    done.usage.estimated ||= row.usage.estimated;
  }
}
