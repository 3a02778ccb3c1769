// What goes to the server and comes from it: requests, and one WebSocket for this tab.

// Cookies go to every port of this host, storage doesn't: the key shows that this page is the one that came in.
const STORED = "agentkit-key " + location.pathname;
if (location.hash.startsWith("#key=")) {
  localStorage.setItem(STORED, location.hash.slice(5));
  history.replaceState(null, "", location.pathname);
}
const key = localStorage.getItem(STORED) || "none";

/** @param {string} path @param {Record<string, string>} query */
export function address(path, query) {
  const url = new URL("api/" + path, location.href.split("#")[0]);
  Object.entries(query).forEach(([name, value]) => url.searchParams.set(name, value));
  return url;
}

/**
 * Ask the server; what it answers with an error is thrown, in its words.
 * @param {string} path @param {Record<string, string>} [query] @param {any} [body] @param {string} [method]
 */
export async function api(path, query = {}, body = undefined, method = body === undefined ? "GET" : "POST") {
  const answer = await request(path, query, body, method);
  return answer.json();
}

/** @param {string} path @param {Record<string, string>} query @param {any} [body] @param {string} [method] */
export async function request(path, query, body = undefined, method = "GET") {
  const headers = { "content-type": "application/json", "x-agentkit-key": key };
  const sent = body === undefined ? undefined : JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(address(path, query), { method, headers, body: sent });
  } catch {
    throw new Error("The server can't be reached.");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error || `The server answered with ${answer.status}.`);
  }
  return answer;
}

/** One connection for this tab; when it is lost it comes back with its cursors, and misses nothing. */
export class Events {
  /** @param {(row: any) => void} take @param {(connected: boolean) => void} changed */
  constructor(take, changed) {
    this.take = take;
    this.changed = changed;
    /** @type {Record<string, number>} */ this.cursors = {};
    /** @type {WebSocket | null} */ this.socket = null;
    this.attempt = 0;
  }

  connect() {
    const url = address("events", {});
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(url, ["agentkit", key]);
    this.socket.onopen = () => {
      this.attempt = 0;
      this.changed(true);
      this.watch(this.cursors);
    };
    this.socket.onmessage = (message) => JSON.parse(message.data).forEach((/** @type {any} */ row) => this.hear(row));
    this.socket.onclose = () => {
      this.changed(false);
      setTimeout(() => this.connect(), Math.min(10_000, 250 * 2 ** this.attempt++));
    };
  }

  /** @param {any} row */
  hear(row) {
    if (!(row.session in this.cursors)) return;
    this.cursors[row.session] = row.seq;
    this.take(row);
  }

  /** @param {Record<string, number>} cursors */
  watch(cursors) {
    this.cursors = cursors;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ watch: cursors }));
  }
}
