// A session in one HTML file: shown by the same code, with nobody to ask.
import { make, used, visible } from "./dom.js";
import { Trace } from "./trace.js";
import { Conversation } from "./view.js";

const data = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent || "{}");
const [log, trace] = [make("div"), make("section")];
log.id = "log";
trace.id = "trace";
trace.setAttribute("aria-label", "Trace");
document.body.append(make("header", make("h1", visible(data.title)), make("p.note", used(data.usage))), trace, make("main", log));
const view = new Conversation(log, null);
data.rows.forEach((/** @type {any} */ row) => view.take(row));
new Trace(trace, async ({ message = -1 }) => {
  const request = { ...data.request, contents: data.contents.slice(0, message) };
  return { ...data.turns[message], reply: data.contents[message], request };
}).draw(data.rows);
