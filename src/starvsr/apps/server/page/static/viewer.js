// What was made beside what it was made of: frames of a preview, or a result and its input in step.

import { get, make, post, time } from "./api.js";

const COPY_WAIT = 700;
const PICTURES = [".png", ".jpg", ".gif", ".webp"];

export class Viewer {
  constructor(place, settings) {
    this.settings = settings;
    this.title = make("h2", { id: "viewer-title" }, "Before and after");
    this.player = document.createElement("starvsr-player");
    this.detail = make("input", { type: "range", min: "0", max: "1", step: "0.05", id: "viewer-detail" });
    this.share = make("output", { for: "viewer-detail" });
    this.detailLabel = make("label", { class: "detail", hidden: true }, "Detail ", this.detail, this.share);
    this.note = make("p", { class: "told" }, "A preview, or a finished job, is shown here beside its input.");
    this.section = make("section", { "aria-labelledby": "viewer-title", class: "viewer" }, this.title, this.player, this.detailLabel, this.note);
    place.replaceChildren(this.section);
    this.player.hidden = true;
    this.detail.addEventListener("input", () => {
      this.settings.detail = this.detail.value;
      this.blend(this.detail.value);
    });
  }

  // Follow the control among the settings.
  follow() { if (!this.detailLabel.hidden) this.blend(this.settings.detail); }

  blend(share) {
    this.detail.value = String(share);
    this.share.value = Number(share).toFixed(2);
    this.player.detail = share;
  }

  preview(job) {
    this.shown = job.id;
    if (job.preview.seconds) this.previewClip(job); else this.previewFrames(job);
  }

  previewFrames(job) {
    const { times, blends } = job.result, at = (index, side) => `/api/v1/jobs/${job.id}/frames/${index}/${side}`;
    this.open(`Preview of ${job.name}`);
    this.player.zoom.value = "1";
    this.player.load({ source: { pictures: times.map((_, index) => [at(index, "after"), at(index, "before")]) },
      frames: times.length, rate: 1, result: job.options.model, other: "enlarged", otherOnLeft: true });
    this.detailLabel.hidden = !blends;
    this.blend(blends ? this.settings.detail : 1);
    const place = times.length > 1 || times[0] > 0 ? `Frames from ${time(times[0])} on. ` : "";
    this.note.textContent = `${place}Left the plain enlargement, right the result; at 1:1 a pixel of the result is one of the screen.` +
      (blends ? "" : " This model honours detail within its network: change it and look again.");
  }

  previewClip(job) {
    const { blends, times, sound, num_frames: frames, frame_rate: rate } = job.result, url = `/api/v1/jobs/${job.id}/clips`;
    this.open(`Preview of ${job.name}`);
    this.player.zoom.value = "1";
    this.player.load({ source: { pair: [`${url}/after`, `${url}/before`] }, frames, rate: fraction(rate) || 24,
      result: job.options.model, other: "enlarged", otherOnLeft: true, sound });
    this.detailLabel.hidden = !blends;
    this.blend(blends ? this.settings.detail : 1);
    this.note.textContent = `${time(frames / (fraction(rate) || 24))} from ${time(times[0])} on, again and again: Space plays. ` +
      "Left the plain enlargement, right the result; at 1:1 a pixel of the result is one of the screen." +
      (blends ? "" : " This model honours detail within its network: change it and look again.");
    this.player.stage.focus({ preventScroll: true });
  }

  // A copy of a result (side 0) or its input (1) that browsers play; made by the server when it is asked for.
  async copy(job, side, tell) {
    const kind = side === 0 ? "result" : "source", what = side === 0 ? job.result.name : "the original";
    const path = `/jobs/${job.id}/copies/${kind}`;
    for (let told = await post(path); told.state !== "ready"; told = await get(path)) {
      if (this.shown !== job.id) throw new Error("another one is shown");
      if (told.state === "failed") throw new Error(`This browser cannot play ${what}, and no copy of it could be made: ${told.error}`);
      const share = told.fraction === null ? "" : ` (${Math.round(100 * told.fraction)} %)`;
      tell(`This browser cannot play ${what}. A copy that it can is being made${share}.`);
      await new Promise((done) => setTimeout(done, COPY_WAIT));
    }
    if (this.shown !== job.id) throw new Error("another one is shown");
    const name = side === 0 ? "the result" : "the original";
    this.note.textContent += ` This browser cannot play ${name}: a copy is shown, of 8 bits and coded with loss; the download is the file itself.`;
    return `/api/v1${path}/content`;
  }

  result(job) {
    const url = `/api/v1/jobs/${job.id}`, { facts, result } = job, offset = seconds(job.options.start);
    const isPicture = facts.kind === "image" || (result.num_frames === 1 && PICTURES.some((suffix) => result.name.endsWith(suffix)));
    const rate = fraction(facts.frame_rate) || 24;
    this.shown = job.id;
    this.open(`Result of ${job.name}`);
    this.player.zoom.value = "fit";
    this.player.load({
      source: isPicture ? { pictures: [[`${url}/result`, `${url}/source`]] } : { pair: [`${url}/result`, `${url}/source`], offset },
      frames: isPicture ? 1 : result.num_frames ?? facts.num_frames, rate, result: "result", other: "original", otherOnLeft: true,
      sound: facts.sound && !isPicture, instead: (side, tell) => this.copy(job, side, tell), failed: [
        `This browser cannot show ${result.name}: download it.`,
        "This browser cannot show the original: here is the result alone.",
      ] });
    this.detailLabel.hidden = true;
    this.player.detail = 1;
    this.note.textContent = "Space plays, arrow keys step, V changes the view, Z the zoom, M the sound.";
    this.section.scrollIntoView({ block: "start", behavior: "smooth" });
    this.player.stage.focus({ preventScroll: true });
  }

  open(title) {
    this.title.textContent = title;
    this.player.hidden = false;
  }

  // Nothing of a job that is gone stays on the page.
  close(id) {
    if (!this.player.entry || !JSON.stringify(this.player.entry.source).includes(id)) return;
    this.player.unload();
    this.shown = null;
    this.player.hidden = true;
    this.detailLabel.hidden = true;
    this.title.textContent = "Before and after";
  }
}

function fraction(rate) {
  const [above, below = 1] = String(rate ?? "").split("/").map(Number);
  return above / below;
}

const seconds = (text) => String(text ?? 0).split(":").reduce((sum, part) => sum * 60 + Number(part), 0) || 0;
