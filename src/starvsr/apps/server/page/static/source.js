// The input: a file that is sent in pieces and goes on after a lost connection, or one that the server has already.

import { call, bytes, get, list, make, post, Refused, Unreachable } from "./api.js";

const PIECE = 4 << 20;
const TRIES = 8;
const KEY = "starvsr-upload";

export class Source {
  // changed(source): called with { upload | path, name }, or null while there is none.
  constructor(place, about, changed) {
    Object.assign(this, { about, changed, chosen: null, sending: null });
    this.input = make("input", { type: "file", accept: "video/*,image/*,.mkv,.ts,.m2ts,.dv,.y4m,.nut", id: "source-file" });
    this.drop = make("label", { class: "drop", for: "source-file" },
      make("strong", {}, "Drop a video here"), make("span", {}, "or choose a file"),
      make("small", {}, `up to ${bytes(about.limits.max_upload)}; it stays on this server`));
    this.kept = make("select", { id: "source-kept" });
    this.keptLabel = make("label", { class: "kept", for: "source-kept", hidden: true }, "Or one that is here", this.kept);
    this.bar = make("progress", { max: 1, value: 0, "aria-label": "upload" });
    this.stopButton = make("button", { type: "button" }, "Stop sending");
    this.progress = make("div", { class: "sending", hidden: true }, this.bar, this.stopButton);
    this.told = make("p", { class: "told", id: "source-told" });
    this.error = make("p", { class: "error", role: "alert", id: "source-error" });
    place.replaceChildren(make("section", { "aria-labelledby": "source-title" }, make("h2", { id: "source-title" }, "Video"),
      this.input, this.drop, this.keptLabel, this.progress, this.told, this.error));
    this.listen();
    this.refresh();
  }

  listen() {
    this.input.addEventListener("change", () => { if (this.input.files[0]) this.send(this.input.files[0]); });
    this.stopButton.addEventListener("click", () => this.stop());
    this.kept.addEventListener("change", () => this.choose(this.kept.value ? JSON.parse(this.kept.value) : null));
    for (const name of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(name, (event) => {
        if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
        event.preventDefault();
        this.drop.classList.toggle("over", name === "dragover");
        if (name === "drop" && event.dataTransfer.files[0]) this.send(event.dataTransfer.files[0]);
      });
    }
  }

  async refresh() {
    const [uploads, files] = await Promise.all([list("/uploads"), list("/files")]);
    const option = (source) => new Option(source.name, JSON.stringify(source));
    const whole = uploads.filter((one) => one.offset === one.size).reverse();
    const groups = [["Sent before", whole.map(({ id, name }) => option({ upload: id, name }))],
      ["On the server", files.map((path) => option({ path, name: path }))]];
    this.kept.replaceChildren(new Option("none", ""),
      ...groups.filter(([, options]) => options.length).map(([label, options]) => make("optgroup", { label }, ...options)));
    this.keptLabel.hidden = this.kept.options.length < 2;
    if (this.chosen) this.kept.value = JSON.stringify(this.chosen);
  }

  choose(source) {
    this.chosen = source;
    this.error.textContent = "";
    this.told.textContent = source ? source.name : "";
    this.changed(source);
  }

  async send(file) {
    this.stop();
    this.error.textContent = "";
    const sending = this.sending = new AbortController();
    try {
      if (file.size === 0) throw new Error(`${file.name}: the file is empty; choose another one`);
      const most = this.about.limits.max_upload;
      if (file.size > most) {
        throw new Error(`${file.name}: the file has ${bytes(file.size)}, more than the ${bytes(most)} allowed here; ` +
          "send a smaller one, or ask the operator for a higher limit");
      }
      this.choose(null);
      this.progress.hidden = false;
      const id = await this.transfer(file, sending.signal);
      localStorage.removeItem(KEY);
      this.choose({ upload: id, name: file.name });
      this.refresh();
    } catch (error) {
      if (error.name !== "AbortError") this.error.textContent = error.message;
      this.told.textContent = "";
    } finally {
      if (this.sending === sending) {
        this.sending = null;
        this.progress.hidden = true;
        this.input.value = "";
      }
    }
  }

  async transfer(file, signal) {
    const mark = `${file.name}|${file.size}|${file.lastModified}`;
    let { id, offset } = await begun(mark);
    if (!id) {
      ({ id } = await post("/uploads", { name: file.name, size: file.size }, { signal }));
      localStorage.setItem(KEY, JSON.stringify({ mark, id }));
    }
    this.upload = id;
    for (let tries = 0; offset < file.size;) {
      this.bar.value = offset / file.size;
      this.told.textContent = `${file.name}: ${bytes(offset)} of ${bytes(file.size)}`;
      try {
        const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) };
        const body = file.slice(offset, offset + PIECE);
        const answer = await call("PATCH", `/uploads/${id}`, undefined, { body, headers, signal });
        offset = Number(answer.headers.get("Upload-Offset"));
        tries = 0;
      } catch (error) {
        const goesOn = error instanceof Unreachable || (error instanceof Refused && [408, 409].includes(error.status));
        if (!goesOn || ++tries > TRIES) throw error;
        this.told.textContent = `${file.name}: the connection was lost; trying again`;
        await new Promise((done) => setTimeout(done, Math.min(10000, 300 * 2 ** tries)));
        try { ({ offset } = await get(`/uploads/${id}`, { signal })); } catch (other) {
          if (!(other instanceof Unreachable)) throw other;
        }
      }
    }
    return id;
  }

  stop() {
    if (!this.sending) return;
    this.sending.abort();
    localStorage.removeItem(KEY);
    if (this.upload) call("DELETE", `/uploads/${this.upload}`).catch(() => {});
    this.upload = null;
  }
}

// An upload of the same file that a lost connection or a closed page broke off.
async function begun(mark) {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    if (kept?.mark === mark) {
      const { id, offset, size } = await get(`/uploads/${kept.id}`);
      if (offset < size) return { id, offset };
    }
  } catch { /* it is gone: begin anew */ }
  return { id: null, offset: 0 };
}
