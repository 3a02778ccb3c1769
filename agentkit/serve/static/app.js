// The page: one session is open, all others are in the list; what happens comes as rows.
import { api, Events, request } from "./connection.js";
import { make, used, visible } from "./dom.js";
import { Files } from "./files.js";
import { Sessions } from "./sessions.js";
import { Tasks } from "./tasks.js";
import { Trace } from "./trace.js";
import { Conversation } from "./view.js";

const LIST = "*";
const $ = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

/** @type {Conversation} */ let view = new Conversation($("log"), null);
let about = { tools: [], tasks: false };
let current = addressed(); // at once: what is sent before it is shown is for it
let wanted = 0;
let listCursor = 0;
let drawing = 0;
let listing = false;
let sending = false;
const actions = { decide, retry: () => act("retry") };
const events = new Events(take, connected);
const files = new Files($("files"), (text) => say(text, true));
const sessions = new Sessions($("sessions"), $("find"), go, list);
const tasks = new Tasks($("tasks"), go, tried);
const trace = new Trace($("trace"), ({ message = -1, at }) => api("turn", { id: current, message: String(message), at: String(at) }));

/** @param {string} text @param {boolean} [bad] */
function say(text, bad = false) {
  $("state").textContent = text;
  $("state").className = bad ? "bad" : "";
}

/**
 * Do something; what goes wrong is said, and gives undefined.
 * @param {() => Promise<any>} doing
 */
async function tried(doing) {
  try {
    return await doing();
  } catch (error) {
    say(String(/** @type {Error} */ (error).message), true);
    return undefined;
  }
}

/** @param {string} what @param {any} [body] */
function act(what, body = {}) {
  say("");
  return tried(() => api(what, { id: current }, body));
}

/** @param {boolean} up */
function connected(up) {
  say(up ? "" : "Not connected; trying again…", !up);
  if (up && !current && addressed()) open(addressed()); // it couldn't be shown before
}

/** @param {any} row */
async function take(row) {
  if (row.session === LIST) {
    listCursor = row.seq;
    await list();
    return;
  }
  if (row.session !== current) return;
  if (row.type === "reload") {
    await open(current);
    return;
  }
  if (row.type === "deleted") {
    go("");
    return;
  }
  view.take(row);
  if (row.type === "end") {
    if (row.total) $("usage").textContent = used(row.total);
    announce(row.stop ? `The run stopped: ${row.stop}.` : "The answer is complete.");
  }
  if (row.type === "pending") announce("A call waits for your decision.");
  show();
}

/** @param {string} text */
function announce(text) {
  $("live").textContent = text;
}

function show() {
  $("stop").hidden = !view.live;
  $("send").hidden = view.live;
  $("send").disabled = $("say").disabled = view.waits;
  $("say").placeholder = view.waits ? "Decide about the call above first" : "Message";
  if (!$("trace").hidden && !drawing) {
    drawing = requestAnimationFrame(() => {
      drawing = 0;
      trace.draw(view.rows, view.live || view.waits);
    });
  }
}

// Who reads the end goes along with it, whatever grows or shrinks; who has scrolled up stays there.
const scroll = $("scroll");
let pinned = true;
let top = 0;
scroll.onscroll = () => {
  const near = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  pinned = near || (pinned && scroll.scrollTop >= top); // what has grown since isn't the reader's doing
  top = scroll.scrollTop;
};
const follow = new ResizeObserver(() => pinned && (scroll.scrollTop = scroll.scrollHeight));
follow.observe(scroll);
follow.observe($("log"));
setInterval(() => (view.live || view.waits) && show(), 1000);

async function list() {
  if (listing) return;
  listing = true;
  await new Promise((resolve) => setTimeout(resolve, 50)); // several changes are one look
  listing = false;
  await tried(async () => {
    listCursor = Math.max(listCursor, await sessions.load());
    const title = $("sessions").querySelector("[aria-current] .title")?.textContent;
    if (title) entitle(title);
  });
}

/** @param {string} title */
function entitle(title) {
  $("title").textContent = title;
  document.title = `${title} · agentkit`;
}

/** @param {string} id */
function go(id) {
  shut();
  if (addressed() === id) open(id);
  else location.hash = id ? "/" + encodeURIComponent(id) : "";
}

/** Tell which session the address names. */
function addressed() {
  if (!location.hash.startsWith("#/")) return "";
  try {
    return decodeURIComponent(location.hash.slice(2));
  } catch {
    return location.hash.slice(2); // no address of ours: it is said that there is no such session
  }
}

/** @param {string} id */
async function open(id) {
  current = id;
  sessions.choose(id);
  const mine = ++wanted;
  const fresh = { rows: [], cursor: 0, title: "", live: false, usage: null };
  const snapshot = id ? await tried(() => api("session", { id })) : fresh;
  if (mine !== wanted) return;
  view = new Conversation($("log"), snapshot ? actions : null, id);
  if (!snapshot) {
    current = ""; // what is said now begins another
    $("log").replaceChildren(make("p.empty", "This session can't be shown; choose another, or begin a new one."));
    head(null);
    return;
  }
  view.live = snapshot.live;
  snapshot.rows.forEach((/** @type {any} */ row) => view.take(row));
  if (!snapshot.rows.length && !snapshot.live) view.empty(about.tools);
  events.watch({ [LIST]: listCursor, ...(id ? { [id]: snapshot.cursor } : {}) });
  head(snapshot);
  pinned = true;
  scroll.scrollTop = scroll.scrollHeight;
}

/**
 * Show what stands above a session; null is none.
 * @param {any} snapshot
 */
function head(snapshot) {
  entitle(visible(snapshot?.title || "New session"));
  $("usage").textContent = snapshot?.usage && snapshot.usage.in + snapshot.usage.out ? used(snapshot.usage) : "";
  $("menu-more").hidden = !current;
  show();
}

async function send() {
  const text = $("say").value.trim();
  if ((!text && !files.files.length) || view.live || view.waits || sending) return;
  sending = true;
  const attached = files.take();
  $("say").value = ""; // at once: what is typed meanwhile is the next message
  say("");
  const sent = await tried(async () => {
    if (!current) {
      const { id } = await api("sessions", {}, {});
      history.replaceState(null, "", "#/" + encodeURIComponent(id));
      await open(id);
    }
    await api("message", { id: current }, { text, files: attached.map(({ mime, data }) => ({ mime, data })) });
    return true;
  });
  sending = false;
  if (sent) return;
  $("say").value = [text, $("say").value].filter(Boolean).join("\n");
  files.giveBack(attached);
}

/** @param {any} decisions */
async function decide(decisions) {
  await act("decide", { decisions });
}

async function undo() {
  const undone = await act("undo");
  if (undone?.text && !$("say").value) $("say").value = undone.text;
}

/** @param {string} kind */
async function save(kind) {
  await tried(async () => {
    const answer = await request("export", { id: current, as: kind });
    const link = /** @type {HTMLAnchorElement} */ (make("a"));
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `session.${kind === "markdown" ? "md" : kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

/**
 * Ask in a dialog; undefined if it is dismissed.
 * @param {string} title @param {string} [value] what to edit; without it, yes or no @returns {Promise<string | undefined>}
 */
function ask(title, value = undefined) {
  const dialog = /** @type {HTMLDialogElement} */ ($("dialog"));
  $("dialog-title").textContent = title;
  $("dialog-value").hidden = value === undefined;
  $("dialog-value").value = value ?? "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      $("menu-more").querySelector("summary").focus(); // the menu with the button that asked is shut by now
      resolve(dialog.returnValue === "yes" ? $("dialog-value").value : undefined);
    };
  });
}

async function rename() {
  const title = await ask("Title of this session", $("title").textContent);
  if (title !== undefined) await tried(() => api("session", { id: current }, { title }, "PATCH"));
}

async function remove() {
  if ((await ask("Delete this session? It can't be brought back.")) === undefined) return;
  await tried(() => api("session", { id: current }, {}, "DELETE"));
}

function shut() {
  document.body.classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
}

/** @param {string} id @param {() => void} doing */
const click = (id, doing) => ($(id).onclick = doing);
click("stop", () => act("stop"));
click("undo", undo);
click("rename", rename);
click("delete", remove);
for (const kind of ["markdown", "json", "html"]) click("export-" + kind, () => save(kind));
click("new", () => {
  go("");
  $("say").focus();
});
click("menu", () => {
  const on = document.body.classList.toggle("open");
  $("menu").setAttribute("aria-expanded", String(on));
  if (on) $("find").focus();
});
click("tracing", () => {
  const on = $("trace").hidden;
  $("trace").hidden = !on;
  $("tracing").setAttribute("aria-pressed", String(on));
  show();
});
click("listing", () => {
  const on = $("tasks").hidden;
  tasks.show(on);
  $("listing").setAttribute("aria-pressed", String(on));
});
click("attach", () => $("file").click());
$("file").onchange = async () => {
  await files.add([...$("file").files]);
  $("file").value = "";
};
files.listen(document.body);
$("form").onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  send();
};
$("say").onkeydown = (/** @type {KeyboardEvent} */ event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
};
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || $("dialog").open) return;
  if (document.body.classList.contains("open")) shut();
  else if ($("menu-more").open) $("menu-more").open = false;
  else if (view.live && event.target !== $("find")) act("stop"); // there it clears the field
});
document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (!target.closest("#menu-more summary")) $("menu-more").open = false;
  if (document.body.classList.contains("open") && !target.closest("#side, #menu")) shut();
});
addEventListener("hashchange", () => {
  if (!location.hash || location.hash.startsWith("#/")) open(addressed());
});

await tried(async () => (about = await api("agent")));
$("listing").hidden = !about.tasks;
await list();
await open(addressed());
events.connect();
if (matchMedia("(pointer: fine)").matches) $("say").focus(); // on a phone the keyboard would cover the page
