// The queue and what was done: the records of the server, so they are the same after a restart of either side.

import { bytes, call, list, make, post, time } from "./api.js";

const OPEN = ["checking", "queued", "running", "paused"];
const WORDS = { checking: "being checked", queued: "waiting", running: "running", paused: "paused", done: "done", failed: "failed",
  cancelled: "cancelled" };
const SURE_SECONDS = 4;

export class Jobs {
  // watch(job), gone(id), lost(isLost): called for a result to be shown, a job removed, the server (un)reachable.
  constructor(place, { watch, gone, lost }) {
    Object.assign(this, { watch, gone, lost, cards: new Map() });
    this.items = make("ul", { class: "jobs" });
    this.empty = make("p", { class: "told" }, "Nothing was done yet.");
    this.told = make("p", { class: "sr", role: "status" });
    this.error = make("p", { class: "error", role: "alert" });
    place.replaceChildren(make("section", { "aria-labelledby": "jobs-title" }, make("h2", { id: "jobs-title" }, "Jobs"), this.error,
      this.items, this.empty, this.told));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.refresh(); });
    this.refresh();
  }

  async refresh() {
    clearTimeout(this.timer);
    let wait = 1000;
    try {
      const jobs = (await list("/jobs")).filter((job) => !job.preview).reverse();
      this.show(jobs);
      this.lost(false);
      if (!jobs.some((job) => OPEN.includes(job.state) && job.state !== "paused")) wait = 4000;
    } catch (error) {
      this.lost(true);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), document.hidden ? 10000 : wait);
  }

  show(jobs) {
    for (const [id, card] of this.cards) {
      if (jobs.some((job) => job.id === id)) continue;
      card.item.remove();
      this.cards.delete(id);
    }
    jobs.forEach((job, place) => {
      let card = this.cards.get(job.id);
      if (!card) {
        card = new Card(this);
        this.cards.set(job.id, card);
      } else if (card.job.state !== job.state) {
        this.told.textContent = `${job.name}: ${WORDS[job.state]}`;
      }
      if (this.items.children[place] !== card.item) this.items.insertBefore(card.item, this.items.children[place] ?? null);
      card.show(job);
    });
    this.empty.hidden = jobs.length > 0;
  }

  async ask(method, path) {
    this.error.textContent = "";
    try { await call(method, path); } catch (error) { this.error.textContent = error.message; }
    await this.refresh();
  }
}

class Card {
  constructor(jobs) {
    this.jobs = jobs;
    this.name = make("h3");
    this.state = make("span", { class: "state" });
    this.bar = make("progress", { max: 1 });
    this.line = make("p", { class: "told" });
    this.notes = make("ul", { class: "notes" });
    this.failed = make("p", { class: "error" });
    this.buttons = make("div", { class: "buttons" });
    this.item = make("li", {}, make("div", { class: "head" }, this.name, this.state), this.bar, this.line, this.failed, this.notes,
      this.buttons);
  }

  show(job) {
    const shown = job.is_stopping ? "stopping" : job.state;
    const before = this.job && (this.job.is_stopping ? "stopping" : this.job.state);
    this.job = job;
    this.item.dataset.state = shown;
    this.item.dataset.id = job.id;
    this.name.textContent = job.name;
    this.state.textContent = WORDS[shown] ?? shown;
    const fraction = job.progress?.fraction;
    this.bar.hidden = !["running", "checking"].includes(job.state);
    if (fraction === null || fraction === undefined) this.bar.removeAttribute("value"); else this.bar.value = fraction;
    this.bar.setAttribute("aria-label", `progress of ${job.name}`);
    this.line.textContent = this.words(job);
    this.failed.textContent = job.error ?? "";
    if (this.notes.dataset.of !== JSON.stringify(job.notes)) {
      this.notes.dataset.of = JSON.stringify(job.notes);
      this.notes.replaceChildren(...job.notes.map((note) => make("li", {}, note)));
    }
    if (shown !== before) this.showButtons(job);
  }

  words(job) {
    const { progress, result, options } = job;
    const parts = [options.model];
    if (result.width) parts.push(`${result.width}x${result.height}`);
    if (job.state === "running" && progress) {
      if (progress.num_frames) parts.push(`frame ${progress.num_done} of ${progress.num_frames}`);
      if (progress.stage !== "upscaling") parts.push(progress.stage);
      if (progress.seconds_left !== null) parts.push(`${time(progress.seconds_left)} left`);
    } else if (job.state === "queued") {
      if (job.position) parts.push(`${job.position} before it`);
      if (job.estimated_seconds !== null) parts.push(`takes about ${time(job.estimated_seconds)}`);
    } else if (job.state === "done") {
      if (result.num_frames > 1) parts.push(`${result.num_frames} frames`);
      if (result.seconds) parts.push(`in ${time(result.seconds)}`);
      parts.push(bytes(result.num_bytes));
      if (job.expires) parts.push(`kept until ${new Date(job.expires * 1000).toLocaleString()}`);
    }
    return parts.join(", ");
  }

  showButtons(job) {
    const place = `/jobs/${job.id}`, { jobs } = this;
    const button = (text, deed, attributes = {}) => {
      const made = make("button", { type: "button", "aria-label": `${text}: ${job.name}`, ...attributes }, text);
      made.addEventListener("click", () => deed(made));
      return made;
    };
    const plain = (text, verb) => button(text, () => jobs.ask("POST", `${place}/${verb}`));
    const sure = (text, deed) => button(text, (made) => {
      if (made.dataset.sure) return deed();
      made.dataset.sure = "yes";
      made.textContent = `Really ${text.toLowerCase()}?`;
      setTimeout(() => { delete made.dataset.sure; made.textContent = text; }, SURE_SECONDS * 1000);
    });
    const cancel = sure("Cancel", () => jobs.ask("POST", `${place}/cancel`));
    const remove = sure("Delete", () => { jobs.gone(job.id); jobs.ask("DELETE", place); });
    const sets = {
      checking: () => [cancel],
      queued: () => [plain("Pause", "pause"), cancel],
      running: () => [plain("Pause", "pause"), cancel],
      paused: () => [plain("Resume", "resume"), cancel],
      done: () => [button("Watch", () => jobs.watch(this.job), { class: "primary" }),
        make("a", { class: "button", href: `/api/v1${place}/result`, download: job.result.name, "aria-label": `Download: ${job.name}` },
          "Download"), remove],
      failed: () => [plain("Try again", "resume"), remove],
      cancelled: () => [remove],
    };
    const had = this.buttons.contains(document.activeElement);
    this.buttons.replaceChildren(...(job.is_stopping ? [] : sets[job.state]()));
    if (had) (this.buttons.querySelector("button") ?? this.name).focus();
  }
}
