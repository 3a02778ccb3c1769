// Elements, texts that may be hostile, and numbers for people.

const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("agentkit", {
  createHTML: (/** @type {string} */ html) => html,
});

/**
 * Insert HTML that the server made of Markdown; nothing else may pass here.
 * @param {Element} element @param {string} html
 */
export function setHTML(element, html) {
  element.innerHTML = policy ? policy.createHTML(html) : html;
}

const ODD = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]" +
    "|[\\u{e0000}-\\u{e007f}]",
  "gu",
);

/**
 * Show characters that turn text around, hide it or look like nothing.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(ODD, (sign) => `\\u{${/** @type {number} */ (sign.codePointAt(0)).toString(16)}}`);
}

/**
 * Show any JSON value as text.
 * @param {any} value
 */
export function json(value) {
  return visible(typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? ""));
}

/**
 * Make an element: make("p.note", "text", child, ...).
 * @param {string} what @param {(string | Node)[]} inside @returns {HTMLElement}
 */
export function make(what, ...inside) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  element.append(...inside);
  return element;
}

/** Show any JSON value, to be scrolled with the keyboard, too. @param {any} value */
export function pre(value) {
  const made = make("pre", json(value));
  made.tabIndex = 0;
  return made;
}

/**
 * Make a button.
 * @param {string} label @param {() => void} onclick @param {string} [what]
 */
export function button(label, onclick, what = "button") {
  const element = /** @type {HTMLButtonElement} */ (make(what, label));
  element.type = "button";
  element.onclick = onclick;
  return element;
}

/**
 * Say a time in words.
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} days`;
}

/**
 * Say what was used in words.
 * @param {any} usage
 */
export function used(usage) {
  const share = usage.in && usage.cached ? ` (${Math.round((100 * usage.cached) / usage.in)} % cached)` : "";
  const cost = usage.cost ? ` · $${usage.cost.toPrecision(2)}` : "";
  const count = (/** @type {number} */ n) => n.toLocaleString("en");
  return `${count(usage.in)} tokens in${share}, ${count(usage.out)} out${usage.estimated ? ", estimated" : ""}${cost}`;
}

/**
 * Show media parts: pictures, and for all else a line.
 * @param {any[]} parts
 */
export function media(parts) {
  return parts
    .map((part) => part.inlineData || part.fileData)
    .filter(Boolean)
    .map((blob) => {
      const kind = String(blob.mimeType || "").toLowerCase();
      if (blob.fileUri) return make("p.note", visible(`${kind || "file"}, ${blob.fileUri}`));
      if (!blob.data || !/^image\/(png|jpeg|gif|webp)$/.test(kind)) {
        const size = blob.size ?? Math.round((blob.data.length * 3) / 4);
        return make("p.note", visible(`${kind || "file"}, ${Math.ceil(size / 1024).toLocaleString("en")} kB`));
      }
      const image = /** @type {HTMLImageElement} */ (make("img.media"));
      image.src = `data:${kind};base64,${blob.data}`;
      image.alt = "Picture";
      return image;
    });
}
