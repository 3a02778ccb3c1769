// The tasks of the queue behind the page: what waits, runs, has failed; ended, sent again and decided about from here.
import { askForm } from "./ask.js";
import { api } from "./connection.js";
import { button, make, pre, visible } from "./dom.js";
import { heading } from "./table.js";

const PAGE = 50;
const WAITING = ["approval", "deferred", "unknown_effect"];

export class Tasks {
  /** @param {HTMLElement} panel @param {(id: string) => void} open @param {(doing: () => Promise<any>) => Promise<any>} tried */
  constructor(panel, open, tried) {
    this.open = open;
    this.tried = tried;
    this.limit = PAGE;
    /** @type {any} */ this.beat = this.shown = "";
    this.body = make("tbody");
    this.note = make("p.note");
    this.more = button("Show more", () => this.load((this.limit += PAGE)));
    this.choice = /** @type {HTMLSelectElement} */ (make("select"));
    this.choice.setAttribute("aria-label", "Which tasks");
    const states = ["", "queued", "running", "done", "failed", "cancelled"];
    this.choice.append(...states.map((each) => new Option(each || "all tasks", each)));
    this.choice.onchange = () => this.load((this.limit = PAGE));
    const heads = ["State", "Chat", "Agent", "Sent", "Tries", "What", "Do"].map(heading("col"));
    panel.replaceChildren(this.choice, make("table", make("thead", make("tr", ...heads)), this.body), this.note, this.more);
    this.panel = panel;
  }

  /** @param {boolean} on */
  show(on) {
    this.panel.hidden = !on;
    clearInterval(this.beat);
    if (on) this.load();
    this.beat = on && setInterval(() => document.hidden || this.load(), 2000);
  }

  /** Read the list, and draw what has changed; not while somebody types in it. @param {any} [_] */
  async load(_) {
    const limit = this.limit;
    const found = await this.tried(() => api("tasks", { status: this.choice.value, limit: String(limit) }));
    const focus = document.activeElement;
    if (!found || limit !== this.limit || (this.body.contains(focus) && focus?.matches("input, textarea"))) return;
    const shown = JSON.stringify(found.tasks);
    if (shown !== this.shown) {
      this.shown = shown;
      this.body.replaceChildren(...found.tasks.flatMap((/** @type {any} */ each) => this.rows(each)));
      this.note.textContent = found.tasks.length ? "" : "There are no tasks.";
      this.more.hidden = found.tasks.length < limit;
    }
  }

  /** @param {any} task @returns {HTMLElement[]} */
  rows(task) {
    const sent = make("td", new Date(task.created * 1000).toLocaleString());
    const waits = task.pending.length > 0;
    const ended = WAITING.includes(task.stop) ? "decided" : task.stop || task.status;
    const mark = make(`td.${waits ? "wait" : task.status}`, waits ? "waits" : task.status === "done" ? ended : task.status);
    const deaths = task.deaths ? `${task.tries} (${task.deaths} died)` : String(task.tries);
    const what = make("td", make("bdi", visible(task.said || "A decision")));
    if (task.came) what.append(make("br"), make("bdi.note", visible(task.came)));
    const act = async (/** @type {any} */ body) => {
      await this.tried(() => api("task", { id: task.id }, body));
      /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
      await this.load();
    };
    const doing = make("td.do");
    if (task.tries) doing.append(button("Watch", () => this.open(task.session)));
    if (["queued", "running"].includes(task.status)) doing.append(button("Cancel", () => act({ do: "cancel" })));
    if (["failed", "cancelled"].includes(task.status)) doing.append(button("Retry", () => act({ do: "retry" })));
    const wide = make("td", ...task.pending.flatMap((/** @type {any} */ call) => [
      pre(call.args),
      askForm(call, (decision) => act({ do: "decide", decisions: { [call.callId]: decision } })),
    ]));
    const cells = [make("td", make("bdi", visible(task.session))), make("td", visible(task.agent)), sent, make("td", deaths)];
    wide.setAttribute("colspan", "7");
    return [make("tr", mark, ...cells, what, doing), ...(waits ? [make("tr", wide)] : [])];
  }
}
