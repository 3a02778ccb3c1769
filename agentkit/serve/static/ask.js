// The card in which a person decides about a call that waits.
import { button, make, visible } from "./dom.js";

const ASKED = /** @type {Record<string, string>} */ ({
  approval: "wants to run",
  deferred: "waits for an answer",
  unknown_effect: "was under way when the program ended: nobody knows whether it took effect",
});
let count = 0;

/**
 * Make the form for a waiting call; `decide` is called with a decision, and not again before it has been taken.
 * @param {any} call @param {(decision: any) => Promise<void> | undefined} decide
 */
export function askForm(call, decide) {
  let given = false;
  const give = async (/** @type {any} */ decision) => {
    if (given) return;
    given = true;
    await decide(decision);
    given = false; // it was refused: else this form is gone
  };
  const said = make("p.note");
  said.setAttribute("role", "status");
  const why = reasonField(() => give({ kind: "deny", why: why.value }));
  const editor = textField(call.kind === "approval" ? "Arguments, as JSON" : "Answer, as text or JSON");
  if (call.kind === "approval") editor.value = JSON.stringify(call.args, null, 2);
  editor.rows = Math.min(14, editor.value.split("\n").length + 1);
  const [confirmWhy, confirmEdit] = [button("Send denial", () => give({ kind: "deny", why: why.value })), button("", send)];
  confirmEdit.textContent = call.kind === "approval" ? "Run with these" : "Send answer";
  const reason = make("div.row", why, confirmWhy);
  const editing = make("div.editing", editor, confirmEdit);
  reason.hidden = editing.hidden = true;

  function send() {
    const value = parsed(editor.value, call.kind !== "approval");
    if (value === undefined) said.textContent = "This isn't valid JSON.";
    else if (call.kind !== "approval") give({ kind: "result", value });
    else if (typeof value !== "object" || value === null || Array.isArray(value)) said.textContent = "Give a JSON object.";
    else give({ kind: "edit", args: value });
  }
  const open = (/** @type {HTMLElement} */ part, /** @type {HTMLElement} */ field) => {
    reason.hidden = part !== reason;
    editing.hidden = part !== editing;
    field.focus();
  };
  const deny = button("Deny…", () => open(reason, why));
  const edit = button(call.kind === "approval" ? "Edit…" : "Answer…", () => open(editing, editor));
  const buttons = {
    approval: [button("Approve", () => give({ kind: "approve" }), "button.main"), edit, deny],
    deferred: [edit, deny],
    unknown_effect: [edit, button("It had no effect: run again", () => give({ kind: "again" }))],
  };
  const path = call.path.length ? ` (in ${call.path.map(visible).join(" › ")})` : "";
  const title = make("p", make("bdi", make("strong", visible(call.name))), ` ${ASKED[call.kind] || "waits"}${path}.`);
  if (call.why) title.append(make("br"), make("bdi.why", visible(call.why)));
  title.id = `ask-${++count}`;
  const row = make("div.row", .../** @type {any} */ (buttons)[call.kind]);
  const form = make("div.ask", title, row, reason, editing, said);
  form.setAttribute("role", "group");
  form.setAttribute("aria-labelledby", title.id);
  return form;
}

/** @param {() => void} enter */
function reasonField(enter) {
  const field = /** @type {HTMLInputElement} */ (make("input"));
  field.placeholder = "Why not? The model is told.";
  field.setAttribute("aria-label", "Reason");
  field.maxLength = 2000;
  field.onkeydown = (event) => {
    if (event.key === "Enter") enter();
  };
  return field;
}

/** @param {string} label */
function textField(label) {
  const field = /** @type {HTMLTextAreaElement} */ (make("textarea"));
  field.setAttribute("aria-label", label);
  field.placeholder = label;
  field.spellcheck = false;
  return field;
}

/**
 * Read JSON; `loose` takes what is none as a text.
 * @param {string} text @param {boolean} loose
 */
function parsed(text, loose) {
  try {
    return JSON.parse(text);
  } catch {
    return loose && text.trim() ? text : undefined;
  }
}
