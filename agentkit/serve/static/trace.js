// The timeline of a run, drawn: a lane for each turn and call; a turn opens with its reply and its request.
import { button, duration, json, make, used, visible } from "./dom.js";
import { runsOf, timeline } from "./timeline.js";

/** @typedef {(turn: import("./timeline.js").Turn) => Promise<any>} LoadTurn */

export class Trace {
  /** @param {HTMLElement} place @param {LoadTurn} load */
  constructor(place, load) {
    this.load = load;
    this.chosen = -1;
    this.picker = /** @type {HTMLSelectElement} */ (make("select"));
    this.picker.setAttribute("aria-label", "Run");
    this.picker.onchange = () => {
      this.chosen = this.picker.selectedIndex === this.picker.length - 1 ? -1 : this.picker.selectedIndex;
      this.draw(this.rows);
    };
    this.lanes = make("div.lanes");
    this.detail = make("div.turn");
    /** @type {any[]} */ this.rows = [];
    this.open = false;
    place.replaceChildren(this.picker, this.lanes, this.detail);
  }

  /** @param {any[]} rows @param {boolean} [open] whether the last run goes on, or waits */
  draw(rows, open = this.open) {
    this.rows = rows;
    this.open = open;
    const runs = runsOf(rows);
    const index = this.chosen >= 0 && this.chosen < runs.length ? this.chosen : runs.length - 1;
    this.picker.replaceChildren(...runs.map((run, n) => make("option", `${n + 1}. ${visible(run.title).slice(0, 60)}`)));
    this.picker.selectedIndex = index;
    this.picker.hidden = runs.length < 2;
    const made = runs.length ? timeline(runs[index].rows, open && index === runs.length - 1 ? Date.now() / 1000 : 0) : null;
    if (!made) {
      this.lanes.replaceChildren(make("p.note", "Nothing to show yet."));
      return;
    }
    const count = (/** @type {number} */ n, /** @type {string} */ what) => `${n} ${what}${n === 1 ? "" : "s"}`;
    const head = `${duration(made.to - made.from)} · ${count(made.turns, "turn")} · ${count(made.calls, "call")} · ${used(made.usage)}`;
    this.lanes.replaceChildren(make("p.note", head), ...made.bars.map((bar) => this.lane(bar, made)));
  }

  /** @param {import("./timeline.js").Bar} bar @param {import("./timeline.js").Timeline} made */
  lane(bar, made) {
    const end = bar.to ?? made.to;
    const [mark, span] = [make("i." + bar.kind), made.to - made.from];
    const left = Math.min(100, (100 * (bar.from - made.from)) / span);
    mark.style.left = `${left}%`;
    mark.style.width = `${Math.max(0, Math.min(100 - left, (100 * (end - bar.from)) / span))}%`;
    const { turn } = bar;
    const name = turn === undefined ? make("span", visible(bar.name)) : button(visible(bar.name), () => this.show(turn, bar.name));
    const took = duration(Math.max(0, end - bar.from));
    const label = make("span", !bar.vague ? took : end > bar.from ? `≤ ${took}` : "");
    const lane = make(bar.depth ? "div.lane.in" : "div.lane", name, make("div.bar", mark), label);
    lane.title = visible(bar.note);
    return lane;
  }

  /** @param {import("./timeline.js").Turn} turn @param {string} name */
  async show(turn, name) {
    let parts;
    try {
      const { reply, request, usage, finishReason } = await this.load(turn);
      parts = [
        make("p.note", visible(`${used(usage)}${finishReason ? ` · ${finishReason}` : ""}`)),
        make("details", make("summary", "Reply"), make("pre", json(reply))),
        make("details", make("summary", "Request, rebuilt from what is stored: a memory or a hook may have sent less"), make("pre", json(request))),
      ];
      /** @type {HTMLDetailsElement} */ (parts[1]).open = true;
    } catch (error) {
      parts = [make("p.note", visible(String(/** @type {Error} */ (error).message)))];
    }
    const title = make("div.row", make("strong", visible(name)), button("Close", () => this.detail.replaceChildren()));
    this.detail.replaceChildren(title, ...parts);
  }
}
