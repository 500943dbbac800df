// What was made beside what it was made of: frames of a preview, or a result and its input in step.

import { make, time } from "./api.js";

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

  result(job) {
    const url = `/api/v1/jobs/${job.id}`, { facts, result } = job, offset = seconds(job.options.start);
    const isPicture = facts.kind === "image" || (result.num_frames === 1 && PICTURES.some((suffix) => result.name.endsWith(suffix)));
    const rate = fraction(facts.frame_rate) || 24;
    this.open(`Result of ${job.name}`);
    this.player.zoom.value = "fit";
    this.player.load({
      source: isPicture ? { pictures: [[`${url}/result`, `${url}/source`]] } : { pair: [`${url}/result`, `${url}/source`], offset },
      frames: isPicture ? 1 : result.num_frames ?? facts.num_frames, rate, result: "result", other: "original", otherOnLeft: true,
      sound: facts.sound && !isPicture, failed: [
        `This browser cannot show ${result.name}: download it, or ask for mp4 (H.264).`,
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
