// Structured values as tables, and the sources of an answer.
import { json, make, visible } from "./dom.js";

const ROWS = 200;

/**
 * Show an object or a list as a table; nested values as JSON.
 * @param {any} value @returns {HTMLElement}
 */
export function table(value) {
  const inner = value && !Array.isArray(value) && Object.keys(value).length === 1 ? Object.values(value)[0] : value;
  const list = Array.isArray(inner) ? inner : null;
  const body = list ? listTable(list) : objectTable(value);
  const wide = make("div.wide", body);
  wide.tabIndex = 0;
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", "Structured output");
  return wide;
}

/**
 * Show the plan that a to-do tool gave back; null if it is none.
 * @param {any} value
 */
export function checklist(value) {
  const steps = value?.steps;
  if (!Array.isArray(steps) || !steps.length || !steps.every((step) => step && typeof step.text === "string")) return null;
  return make("ul.plan", ...steps.map((step) => {
    const [kind, mark] = step.status === "done" ? ["done", "✓"] : step.status === "doing" ? ["doing", "▸"] : ["open", "○"];
    const sign = make("span", mark);
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", kind);
    return make(`li.${kind}`, sign, " ", make("bdi", visible(step.text)));
  }));
}

/** @param {any[]} list */
function listTable(list) {
  const objects = list.filter((each) => each && typeof each === "object" && !Array.isArray(each));
  const names = [...new Set(objects.flatMap((each) => Object.keys(each)))].slice(0, 20);
  const head = names.length ? names : ["value"];
  const rows = list.slice(0, ROWS).map((each) => {
    const cells = names.length ? names.map((name) => each?.[name]) : [each];
    return make("tr", ...cells.map((cell) => make("td", short(cell))));
  });
  const made = make("table", make("thead", make("tr", ...head.map(heading("col")))), make("tbody", ...rows));
  if (list.length > ROWS) made.append(make("caption", `The first ${ROWS} of ${list.length}`));
  return made;
}

/** @param {any} value */
function objectTable(value) {
  const rows = Object.entries(value).slice(0, ROWS);
  return make("table", make("tbody", ...rows.map(([name, cell]) => make("tr", heading("row")(name), make("td", short(cell))))));
}

/** @param {string} scope */
export function heading(scope) {
  return (/** @type {string} */ name) => {
    const cell = make("th", visible(name));
    cell.setAttribute("scope", scope);
    return cell;
  };
}

/** @param {any} value */
function short(value) {
  if (value === undefined || value === null) return "–";
  const text = json(value);
  return text.length > 2000 ? text.slice(0, 2000) + "…" : text;
}

/**
 * Show sources as numbered notes; the search suggestions have a frame and an address of their own.
 * @param {any} row @param {string} session
 */
export function sources(row, session) {
  const items = row.sources.map((/** @type {any} */ source) => {
    const safe = /^https?:\/\//i.test(source.uri);
    const name = visible(source.title || source.uri || "Source");
    if (!safe) return make("li", name);
    const link = /** @type {HTMLAnchorElement} */ (make("a", name));
    link.href = source.uri;
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
    return make("li", make("bdi", link));
  });
  const made = make("section.sources");
  made.setAttribute("aria-label", "Sources");
  if (items.length) made.append(make("h2", "Sources"), make("ol", ...items));
  if (row.suggestions !== null && session) made.append(suggestions(row.suggestions, session));
  return made;
}

/** @param {number} message @param {string} session */
function suggestions(message, session) {
  const frame = /** @type {HTMLIFrameElement} */ (make("iframe.suggestions"));
  frame.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
  frame.title = "Search suggestions";
  frame.src = `suggestions?id=${encodeURIComponent(session)}&message=${message}`;
  return frame;
}
