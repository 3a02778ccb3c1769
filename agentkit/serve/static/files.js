// Files that go along with a message: chosen, dragged or pasted, within limits.
import { button, make, visible } from "./dom.js";

const FILES = 10;
const BYTES = 14_000_000;
const KINDS = /^(image|audio|video|text)\/|^application\/(pdf|json)$/;

/** @typedef {{ name: string, mime: string, data: string, size: number }} Attached */

export class Files {
  /** @param {HTMLElement} list @param {(text: string) => void} complain */
  constructor(list, complain) {
    this.list = list;
    this.complain = complain;
    /** @type {Attached[]} */ this.files = [];
  }

  /** @param {Iterable<File>} files */
  async add(files) {
    for (const file of files) {
      const size = this.files.reduce((sum, each) => sum + each.size, file.size);
      if (!KINDS.test(file.type)) this.complain(`${visible(file.name)}: pictures, audio, video, PDF and text can be sent.`);
      else if (!file.size) this.complain(`${visible(file.name)}: the file is empty.`);
      else if (this.files.length >= FILES) this.complain(`At most ${FILES} files go with a message.`);
      else if (size > BYTES) this.complain(`${visible(file.name)}: the files of a message may have ${BYTES / 1e6} MB.`);
      else this.files.push({ name: file.name, mime: file.type, size: file.size, data: await base64(file) });
    }
    this.show();
  }

  show() {
    this.list.hidden = !this.files.length;
    this.list.replaceChildren(...this.files.map((file, n) => this.chip(file, n)));
  }

  /** @param {Attached} file @param {number} n */
  chip(file, n) {
    const remove = button("×", () => {
      this.files.splice(n, 1);
      this.show();
    });
    remove.setAttribute("aria-label", "Remove " + visible(file.name));
    return make("li", make("bdi", visible(file.name)), make("span.note", ` ${Math.ceil(file.size / 1024)} kB`), remove);
  }

  /** Give the files for a message, and begin anew. */
  take() {
    const taken = this.files;
    this.files = [];
    this.show();
    return taken;
  }

  /** @param {Attached[]} files what was taken, and couldn't be sent */
  giveBack(files) {
    this.files.unshift(...files);
    this.show();
  }

  /**
   * Take what is dropped on or pasted into an element.
   * @param {HTMLElement} element
   */
  listen(element) {
    element.addEventListener("paste", (event) => {
      const files = /** @type {ClipboardEvent} */ (event).clipboardData?.files;
      if (files?.length) {
        event.preventDefault();
        this.add(files);
      }
    });
    element.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return; // text goes where it is dropped
      event.preventDefault();
      element.classList.add("dropping");
    });
    element.addEventListener("dragleave", () => element.classList.remove("dropping"));
    element.addEventListener("drop", (event) => {
      element.classList.remove("dropping");
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      this.add(event.dataTransfer.files);
    });
  }
}

/** @param {File} file @returns {Promise<string>} */
function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}
