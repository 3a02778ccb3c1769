// Rows of the log become elements. The same rows come from the store and live, so that both look the same.
import { askForm } from "./ask.js";
import { button, duration, json, make, media, pre, setHTML, used, visible } from "./dom.js";
import { checklist, sources, table } from "./table.js";

/** @typedef {{ card: HTMLElement, details: HTMLDetailsElement, body: HTMLElement, inner: HTMLElement, time: HTMLElement,
 *   brief: HTMLElement, name: string, ask?: HTMLElement }} Call */
/** @typedef {{ outer: HTMLElement, holder: HTMLElement, blocks: HTMLElement[], table?: boolean }} Text */
/** @typedef {{ decide: (decisions: any) => Promise<void>, retry: () => void }} Actions */

const STATES = /** @type {Record<string, string>} */ ({
  run: "running",
  done: "done",
  failed: "failed",
  wait: "waiting for you",
  held: "not begun",
  stopped: "stopped",
});

const NOTES = /** @type {Record<string, (row: any) => string>} */ ({
  upload_progress: (row) => (row.done ? `${row.name} was uploaded.` : ""),
  file_lost: (row) => `The file ${row.name} is no longer available.`,
  request_delayed: (row) => `Waits ${duration(row.seconds)} for its place under the rate limit.`,
  tools_left_out: (row) => `Tools of ${row.source} are left out: ${row.reason}`,
  model_changed: (row) => `${row.after} stands in for ${row.before}: ${row.reason}`,
});

export class Conversation {
  /** @param {HTMLElement} log @param {Actions | null} actions @param {string} [session] */
  constructor(log, actions, session = "") {
    this.log = log;
    this.actions = actions;
    this.session = session;
    /** @type {any[]} */ this.rows = [];
    this.live = false;
    this.waits = false;
    /** @type {Map<string, Text>} */ this.texts = new Map();
    /** @type {Map<string, Call>} */ this.calls = new Map();
    /** @type {Call | undefined} */ this.plan = undefined;
    log.replaceChildren();
  }

  /** @param {{ name: string, description: string }[]} tools */
  empty(tools) {
    const hint = "Ask something. Each call of a tool will show here, with what it was given and what it got.";
    const rows = tools.slice(0, 12).map((tool) => {
      const words = visible(tool.description.split("\n")[0]).slice(0, 120);
      return make("li", make("bdi.name", visible(tool.name)), words && make("bdi", " " + words));
    });
    if (tools.length > rows.length) rows.push(make("li", `and ${tools.length - rows.length} more`));
    const list = rows.length ? [make("p", "Its tools:"), make("ul", ...rows)] : [];
    this.log.replaceChildren(make("div.empty", make("p", hint), ...list));
  }

  /** @param {any} row */
  take(row) {
    if (!this.rows.length) this.log.replaceChildren();
    this.rows.push(row);
    /** @type {any} */ (this)["on_" + row.type]?.(row);
    const note = NOTES[row.type]?.(row);
    if (note) this.note(note, row);
  }

  /**
   * Find where to put what happens in a sub-agent: in the card of the call that it answers.
   * @param {string[]} within
   */
  place(within) {
    const known = (within || []).map((id) => this.calls.get(id)).filter(Boolean);
    return known.at(-1)?.inner ?? this.log;
  }

  on_begin() {
    this.live = true;
    this.waits = false;
    this.log.querySelectorAll(".banner").forEach((old) => old.remove());
    this.calls.forEach(unask);
  }

  /** @param {any} row */
  on_user(row) {
    const said = make("div.user", ...media(row.media || []));
    if (row.text) said.append(make("div.said", row.text));
    said.dir = "auto";
    this.log.append(said);
  }

  /** @param {any} row */
  on_message_added(row) {
    this.on_user({ text: row.content.parts.map((/** @type {any} */ part) => part.text || "").join("\n"), media: row.content.parts });
  }

  /** @param {any} row @returns {Text} */
  textOf(row) {
    let text = this.texts.get(row.text);
    if (!text) {
      const holder = make("div.text");
      const outer = row.type === "thought" ? make("details.thought", make("summary", "Thoughts"), holder) : holder;
      text = { outer, holder, blocks: [] };
      this.texts.set(row.text, text);
      this.place(row.within).append(outer);
    }
    return text;
  }

  /** @param {any} row */
  on_text(row) {
    const text = this.textOf(row);
    if (text.table) return; // its JSON is shown as a table already
    if (row.whole) {
      text.holder.replaceChildren();
      text.blocks = [];
    }
    let block = text.blocks[row.block];
    if (!block) {
      block = text.blocks[row.block] = make("div");
      block.dir = "auto";
      text.holder.append(block);
    }
    setHTML(block, row.html);
  }

  /** @param {any} row */
  on_thought(row) {
    this.on_text(row);
  }

  /** @param {any} row */
  on_output(row) {
    const text = this.textOf(row);
    text.table = true;
    text.holder.replaceChildren(table(row.value));
  }

  /** @param {any} row */
  on_model_retry(row) {
    for (const id of row.texts || []) {
      this.texts.get(id)?.outer.remove();
      this.texts.delete(id);
    }
    this.note(`Asked again after ${duration(row.delay)} (attempt ${row.attempt}): ${row.reason}`, row);
  }

  /** @param {string} text @param {any} row */
  note(text, row) {
    this.place(row.within).append(make("p.note", visible(text).slice(0, 500)));
  }

  /** @param {any} row */
  on_tool_started(row) {
    const call = this.calls.get(row.callId) || this.addCall(row);
    unask(call);
    call.body.replaceChildren(make("h2", "Arguments"), pre(row.args));
    call.time.textContent = "";
    this.mark(call, row.waits ? "held" : "run");
  }

  /** @param {any} row @returns {Call} */
  addCall(row) {
    const details = /** @type {HTMLDetailsElement} */ (make("details"));
    const brief = make("span.brief", visible(JSON.stringify(row.args)).slice(0, 200));
    const [time, body, inner] = [make("span.time"), make("div.body"), make("div.inner")];
    details.append(make("summary", make("span.mark"), make("span.name", visible(row.name)), brief, time), body);
    const card = make("article.card", details, inner);
    card.setAttribute("aria-label", "Call of " + visible(row.name));
    const call = { card, details, body, inner, time, brief, name: row.name };
    this.calls.set(row.callId, call);
    this.place(row.within).append(card);
    return call;
  }

  /** @param {Call} call @param {string} state */
  mark(call, state) {
    call.card.className = "card " + state;
    const mark = /** @type {HTMLElement} */ (call.card.querySelector(".mark"));
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", STATES[state]);
  }

  /** @param {any} row */
  on_tool_progress(row) {
    const call = this.calls.get(row.callId);
    if (call) call.time.textContent = json(row.message).slice(0, 80);
  }

  /** @param {any} row */
  on_tool_finished(row) {
    const call = this.calls.get(row.callId) || this.addCall({ ...row, args: {} });
    call.time.textContent = row.seconds === null ? "" : duration(row.seconds);
    unask(call);
    if (row.waits) {
      this.mark(call, "wait");
      return;
    }
    const { failed } = row;
    this.mark(call, failed ? "failed" : "done");
    const got = row.response.response;
    const shown = failed ? (got.error ?? got) : (got.output ?? got.result ?? got);
    const rest = Object.entries(got).filter(([name]) => !["output", "error", "result"].includes(name));
    call.body.append(make("h2", failed ? "Error" : "Result"), pre(shown), ...media(row.response.parts || []));
    if (rest.length && shown !== got) call.body.append(make("h2", "More"), pre(Object.fromEntries(rest)));
    if (failed || row.response.parts?.length) call.details.open = true;
    const plan = !failed && row.name === "write_todo" && checklist(shown?.result ?? shown);
    if (plan) this.showPlan(call, plan);
  }

  /**
   * Show the plan that the tool `todo` has written down; the one before it is folded.
   * @param {Call} call @param {HTMLElement} plan
   */
  showPlan(call, plan) {
    if (this.plan) this.plan.details.open = false;
    call.body.replaceChildren(plan);
    call.brief.textContent = "";
    call.details.open = true;
    this.plan = call;
  }

  /** @param {any} row */
  on_server_tool_started(row) {
    const call = this.calls.get(row.callId) || this.addCall(row);
    call.brief.textContent = visible(row.args.code ?? JSON.stringify(row.args)).slice(0, 200);
    call.body.replaceChildren(make("h2", row.args.code ? "Code, run by Gemini" : "Arguments"), pre(row.args.code ?? row.args));
    this.mark(call, "run");
  }

  /** @param {any} row */
  on_server_tool_finished(row) {
    const call = this.calls.get(row.callId) || this.addCall({ ...row, args: {} });
    call.time.textContent = row.failed ? visible(row.status) : "";
    this.mark(call, row.failed ? "failed" : "done");
    const { output, search_suggestions: _, ...rest } = row.result;
    if (output !== undefined) call.body.append(make("h2", "What it printed"), pre(output));
    if (Object.keys(rest).length) call.body.append(make("h2", "Result"), pre(rest));
    call.details.open = row.failed || output !== undefined;
  }

  /** @param {any} row */
  on_media_delta(row) {
    this.place(row.within).append(make("div.made", ...media([row.part])));
  }

  /** @param {any} row */
  on_sources(row) {
    this.place(row.within).append(sources(row, this.session));
  }

  /** @param {any} row */
  on_turn_finished(row) {
    if (row.within?.length || !(row.usage.in + row.usage.out)) return;
    this.log.querySelectorAll(".foot").forEach((old) => old.classList.add("older"));
    this.log.append(make("p.foot", `${row.model ? visible(row.model) + " · " : ""}${used(row.usage)}`));
  }

  /** @param {any} row */
  on_pending(row) {
    this.live = false;
    this.waits = true;
    for (const each of row.calls) {
      const call = this.calls.get(each.callId) || this.addCall({ ...each, within: each.callIds });
      if (!call.body.childElementCount) call.body.append(make("h2", "Arguments"), pre(each.args));
      this.mark(call, "wait");
      call.details.open = true;
      unask(call);
      if (!this.actions) continue;
      call.ask = askForm(each, (decision) => this.actions?.decide({ [each.callId]: decision }));
      call.card.append(call.ask);
    }
    for (const each of row.held || []) {
      const call = this.calls.get(each.callId) || this.addCall({ ...each, within: [] });
      if (!call.body.childElementCount) call.body.append(make("h2", "Arguments"), pre(each.args));
      this.mark(call, "held");
      call.time.textContent = "waits for a call above";
      call.ask?.remove();
    }
  }

  /** @param {any} row */
  on_end(row) {
    this.live = false;
    const broken = [...this.calls.values()].filter((call) => call.card.classList.contains("run"));
    broken.forEach((call) => this.mark(call, "stopped"));
    if (!row.stop || ["approval", "deferred"].includes(row.stop)) return;
    const stopped = row.stop === "cancelled";
    const text = stopped ? `Stopped. ${whatRan(row.done, broken)}` : row.why || `The run stopped: ${row.stop}.`;
    const banner = make(stopped ? "div.banner" : "div.banner.bad", make("span", visible(text)));
    if (this.actions) banner.append(button("Retry", this.actions.retry));
    this.log.append(banner);
  }
}

/**
 * Take away the form of a call that was decided; who was in it by keyboard is in the call's card then.
 * @param {Call} call
 */
function unask(call) {
  if (call.ask?.contains(document.activeElement)) call.details.querySelector("summary")?.focus({ preventScroll: true });
  call.ask?.remove();
}

/**
 * Say what had happened when a run was stopped.
 * @param {any[]} done calls that had ended, with the effect that their tool declares @param {Call[]} broken calls under way
 */
function whatRan(done, broken) {
  const names = (/** @type {any[]} */ calls) => [...new Set(calls.map((call) => visible(call.name)))].join(", ");
  const [reads, writes] = ["read", "write"].map((effect) => done.filter((call) => call.effect === effect));
  const others = done.filter((call) => !call.effect); // nobody said what they do
  const said = [
    writes.length ? `Had taken effect by then: ${names(writes)}.` : "",
    others.length ? `Had run, and may have changed something: ${names(others)}.` : "",
    broken.length ? `Was under way: ${names(broken)}.` : "",
  ].filter(Boolean);
  if (!said.length) said.push("Nothing had taken effect.");
  if (reads.length) said.push(`Had only read: ${names(reads)}.`);
  return said.join(" ");
}
