// What a job would take, and the buttons that look at a preview or start it.

import { bytes, call, get, make, post, time } from "./api.js";

const WAIT = 500;
const SECONDS = 2;

export class Actions {
  // previewed(job), started(job): called with a finished preview, and with a job that was queued.
  constructor(place, settings, { previewed, started }) {
    Object.assign(this, { settings, previewed, started, source: null, preview: null, looked: null });
    this.facts = make("dl", { class: "facts", id: "facts", "aria-label": "What it takes" });
    this.at = make("input", { type: "number", min: "0", step: "0.1", id: "preview-at", placeholder: "a third in" });
    this.amount = make("select", { id: "preview-amount" }, new Option("3 frames", "frames"), new Option("2 seconds", "seconds"));
    this.previewButton = make("button", { type: "button", id: "preview-button", disabled: true }, "Preview");
    this.startButton = make("button", { type: "button", class: "primary", id: "start-button", disabled: true }, "Start");
    this.told = make("p", { class: "told", role: "status", id: "actions-told" });
    this.error = make("p", { class: "error", role: "alert", id: "actions-error" });
    place.replaceChildren(make("section", { "aria-labelledby": "actions-title" }, make("h2", { id: "actions-title" }, "Preview and start"),
      this.facts, this.error,
      make("div", { class: "buttons" }, make("label", { class: "at" }, "Look at ", this.amount),
        make("label", { class: "at" }, "from second ", this.at), this.previewButton, this.startButton),
      this.told));
    this.previewButton.addEventListener("click", () => this.look());
    this.startButton.addEventListener("click", () => this.start());
  }

  choose(source) {
    this.source = source;
    this.at.value = "";
    this.told.textContent = "";
    this.update();
  }

  get body() {
    const { upload, path } = this.source;
    return { ...(upload ? { upload } : { path }), options: this.settings.options(), container: this.settings.container };
  }

  // What a preview tells the time and memory of: all but the share of detail, which costs nothing.
  get kind() {
    const { options, ...rest } = this.body;
    return JSON.stringify({ ...rest, options: { ...options, detail: null } });
  }

  // Ask what the job would take, a moment after the last change.
  update() {
    clearTimeout(this.timer);
    this.asked?.abort();
    this.enable(false);
    if (this.looked && (!this.source || this.looked.kind !== this.kind)) {
      this.looked = null;
      this.told.textContent = "";
    }
    if (!this.source) {
      this.facts.replaceChildren();
      this.error.textContent = "";
      return;
    }
    const asked = this.asked = new AbortController();
    this.timer = setTimeout(async () => {
      try {
        const estimate = await post("/estimates", this.body, { signal: asked.signal });
        this.error.textContent = "";
        this.showEstimate(estimate);
        this.enable(true);
      } catch (error) {
        if (error.name === "AbortError") return;
        this.facts.replaceChildren();
        this.error.textContent = error.message;
        if (error.status === undefined || error.status === 429) this.timer = setTimeout(() => this.update(), 5000);
      }
    }, WAIT);
  }

  enable(can) {
    this.can = can;
    this.previewButton.disabled = !can || Boolean(this.preview);
    this.startButton.disabled = !can;
  }

  showEstimate(estimate) {
    const { facts } = estimate;
    this.estimate = estimate;
    const input = [facts.kind === "image" ? "image" : facts.codec, `${facts.width}x${facts.height}`,
      facts.num_frames > 1 ? `${facts.num_frames} frames` : null, facts.duration ? time(facts.duration) : null,
      facts.sound ? "with sound" : null, facts.hdr ? "HDR" : null];
    const enough = estimate.num_bytes * 2 <= estimate.free_bytes ? "" : ": not enough";
    this.show([["Input", input.filter(Boolean).join(", ")],
      ["Result", `${estimate.width}x${estimate.height}, ${estimate.container}`],
      ["Time", estimate.estimated_seconds === null ? "a preview tells" : `about ${time(estimate.estimated_seconds)}`],
      ["Memory", this.looked ? `about ${bytes(this.looked.memory)}` : "a preview tells"],
      ["Disk", `about ${bytes(estimate.num_bytes)}, ${bytes(estimate.free_bytes)} free${enough}`]]);
  }

  show(rows) {
    this.facts.replaceChildren(...rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  }

  get second() {
    if (this.at.value !== "") return Number(this.at.value);
    const { start = 0 } = this.settings.options(), { duration } = this.estimate.facts;
    const left = duration ? Math.max(0, duration - seconds(start)) : 0;
    return seconds(start) + (this.amount.value === "seconds" ? Math.max(0, Math.min(left / 3, left - SECONDS)) : left / 3);
  }

  async look() {
    this.error.textContent = "";
    this.told.textContent = "The preview waits for a worker.";
    this.preview = {};
    this.enable(this.can);
    const isImage = this.estimate.facts.kind === "image", { kind } = this;
    try {
      const job = this.preview = await post("/previews", { ...this.body, at: isImage ? 0 : this.second, ...this.amountOf(isImage) });
      const done = await this.wait(job.id);
      if (done.state !== "done") throw new Error(done.error ?? `the preview was ${done.state}`);
      const { seconds_per_frame: pace, estimated_seconds: whole, memory } = done.result;
      this.looked = { kind, memory };
      this.told.textContent = `${time(pace)} a frame; the whole takes about ${time(whole)}, and ${bytes(memory)} of memory.`;
      this.previewed(done);
      this.forget(job.id);
    } catch (error) {
      this.told.textContent = "";
      this.error.textContent = error.message;
    } finally {
      this.preview = null;
      this.enable(this.can);
      if (this.source) this.update();
    }
  }

  amountOf(isImage) {
    if (isImage) return { count: 1 };
    return this.amount.value === "seconds" ? { seconds: SECONDS } : { count: 3 };
  }

  async wait(id) {
    for (;;) {
      await new Promise((done) => setTimeout(done, 300));
      let job;
      try { job = await get(`/jobs/${id}`); } catch (error) {
        if (error.status !== undefined) throw error;
        continue;  // the server is being restarted: the preview goes on
      }
      if (!["checking", "queued", "running"].includes(job.state)) return job;
      const share = job.progress?.fraction ? ` (${Math.round(100 * job.progress.fraction)} %)` : "";
      this.told.textContent = job.state === "running" ? `The preview is being made${share}.` :
        `The preview waits for a worker${job.position ? `; ${job.position} before it` : ""}.`;
    }
  }

  // The preview before is of no use any more.
  forget(id) {
    const before = sessionStorage.getItem("starvsr-preview");
    sessionStorage.setItem("starvsr-preview", id);
    if (before && before !== id) call("DELETE", `/jobs/${before}`).catch(() => {});
  }

  async start() {
    this.startButton.disabled = true;
    try {
      const job = await post("/jobs", this.body);
      this.error.textContent = "";
      this.told.textContent = `${job.name} is in the queue.`;
      this.started(job);
    } catch (error) {
      this.error.textContent = error.message;
    } finally {
      this.enable(this.can);
    }
  }
}

// "1:02:03" or 3723 as seconds
function seconds(text) {
  return String(text).split(":").reduce((sum, part) => sum * 60 + Number(part), 0) || 0;
}
