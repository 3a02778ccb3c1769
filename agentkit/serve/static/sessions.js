// The list of sessions beside the conversation.
import { api } from "./connection.js";
import { button, make, visible } from "./dom.js";

const PAGE = 50;

export class Sessions {
  /** @param {HTMLElement} list @param {HTMLInputElement} find @param {(id: string) => void} open @param {() => void} reload */
  constructor(list, find, open, reload) {
    this.list = list;
    this.find = find;
    this.open = open;
    this.reload = reload;
    this.current = "";
    this.limit = PAGE;
    this.asked = 0;
    /** @type {any} */ let typing;
    find.oninput = () => {
      clearTimeout(typing);
      typing = setTimeout(reload, 150);
    };
  }

  /** Read the list; return the cursor from which its changes are told. */
  async load() {
    const mine = ++this.asked;
    const { sessions, cursor } = await api("sessions", { q: this.find.value, limit: String(this.limit) });
    if (mine !== this.asked) return cursor;
    const rows = sessions.map((/** @type {any} */ each) => this.row(each));
    if (sessions.length >= this.limit) rows.push(make("li", button("Show more", () => this.more(), "button.more")));
    if (!rows.length && this.find.value) rows.push(make("li.note", "Nothing found."));
    const held = /** @type {HTMLElement} */ (document.activeElement);
    const at = [...this.list.children].findIndex((item) => item.contains(held));
    this.list.replaceChildren(...rows);
    if (at >= 0) {
      const openers = [...this.list.querySelectorAll("button")];
      const same = held.dataset.id && openers.find((each) => each.dataset.id === held.dataset.id);
      (same || openers[at])?.focus({ preventScroll: true });
    }
    return cursor;
  }

  more() {
    this.limit += PAGE;
    this.reload();
  }

  /** @param {any} each */
  row(each) {
    const title = visible(each.title || "New session");
    const name = make("span.title", title);
    name.dir = "auto";
    const opener = button("", () => this.open(each.id));
    opener.append(name);
    opener.title = title;
    if (each.live) {
      opener.classList.add("live");
      opener.append(make("span.hidden", " (answering)"));
    }
    if (each.snippet) opener.append(make("span.snippet", visible(each.snippet)));
    if (each.id === this.current) opener.setAttribute("aria-current", "true");
    opener.dataset.id = each.id;
    return make("li", opener);
  }

  /** @param {string} id */
  choose(id) {
    this.current = id;
    this.list.querySelectorAll("button").forEach((opener) => {
      if (id && opener.dataset.id === id) opener.setAttribute("aria-current", "true");
      else opener.removeAttribute("aria-current");
    });
  }
}
