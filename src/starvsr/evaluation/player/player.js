// <starvsr-player>: a result and what it is compared with, in step to the frame; wipe or side by side.
//
//   player.load({ source, frames, rate, result, other, first, sound, otherOnLeft })
//
// source is one of
//   { packed: URL, width, height, across }            both in the two halves of one video, the result first
//   { pair: [URL of the result, URL of the other], offset }   two videos; offset: seconds of the other at the result's 0
//   { pictures: [[URL of the result, URL of the other], ...] }  frames as pictures
// result, other: what the sides are called; other "" for a result alone. rate: frames per second.
// instead(side, tell): asked once for each side (0 the result, 1 the other) that the browser cannot play; resolves to the
// URL of a copy that it can, and may say meanwhile, by tell(text), how far that is.
// player.detail = 0..1 shows the result blended with the other. Event "frame" tells that another frame is shown.
(() => {
  "use strict";
  const clamp = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
  const element = (name, attributes, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key in made && typeof value !== "string") made[key] = value; else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  };

  // A video element that reports the media time of each frame that it presents.
  function video(url, onFrame, onError, muted) {
    const made = document.createElement("video");
    made.muted = muted;
    made.playsInline = true;
    made.preload = "auto";
    made.addEventListener("error", () => { if (made.getAttribute("src")) onError(made); });
    made.addEventListener("loadedmetadata", () => { if (!made.videoWidth) onError(made); });  // its sound alone is known
    for (const name of ["loadeddata", "seeked"]) {  // which are not always reported as frames while it is paused
      made.addEventListener(name, () => { if (made.paused && made.readyState > 1) onFrame(made, made.currentTime); });
    }
    if (made.requestVideoFrameCallback) {
      const next = (_, facts) => { onFrame(made, facts.mediaTime); made.requestVideoFrameCallback(next); };
      made.requestVideoFrameCallback(next);
    } else {
      const tick = () => {
        if (made.getAttribute("src") === null) return;
        if (!made.paused || made.readyState > 1) onFrame(made, made.currentTime);
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }
    made.src = url;
    return made;
  }

  function close(one) {
    one.pause();
    one.removeAttribute("src");
    one.load();
  }

  class Packed {
    constructor({ packed, width, height, across }, entry, told) {
      Object.assign(this, { width, height, across, told, entry });
      this.leader = video(packed, (_, time) => told.frame(time), () => told.failed(0), true);
      this.leader.loop = true;
    }
    get isReady() { return this.leader.readyState >= 2; }
    get sides() { return this.entry.other ? [0, 1] : [0]; }
    draw(context, side, x, y, w, h) {
      const from = [this.across ? side * this.width : 0, this.across ? 0 : side * this.height];
      context.drawImage(this.leader, ...from, this.width, this.height, x, y, w, h);
    }
    seek(time) { this.leader.currentTime = time; }
    play() { return this.leader.play(); }
    pause() { this.leader.pause(); }
    close() { close(this.leader); }
  }

  // Two videos. Each frame is kept as it is presented, and shown once both have come to the same frame.
  class Pair {
    constructor({ pair, offset = 0 }, entry, told) {
      Object.assign(this, { entry, told, offset, frames: [null, null], failed: [false, false] });
      this.videos = pair.map((url, side) => video(url, (one, time) => this.keep(side, one, time), () => {
        this.failed[side] = true;
        told.failed(side);
      }, side === 1));
      this.leader.loop = entry.frames / entry.rate < 20;
      this.leader.addEventListener("playing", () => this.follow());
      for (const name of ["pause", "waiting", "ended"]) this.leader.addEventListener(name, () => this.videos[1].pause());
    }
    replace(side, url) {
      this.failed[side] = false;
      this.frames[side] = null;
      this.videos[side].src = url;
    }
    get leader() { return this.videos[0]; }
    get width() { return this.leader.videoWidth; }
    get height() { return this.leader.videoHeight; }
    get isReady() { return this.frames[0] !== null && (this.frames[1] !== null || this.failed[1]); }
    get sides() { return this.failed[1] ? [0] : [0, 1]; }
    keep(side, one, time) {
      if (!one.videoWidth) return;  // closed, or nothing presented yet
      const frame = this.frames[side] ??= { picture: document.createElement("canvas"), time: 0 };
      if (frame.picture.width !== one.videoWidth) frame.picture.width = one.videoWidth;
      if (frame.picture.height !== one.videoHeight) frame.picture.height = one.videoHeight;
      frame.picture.getContext("2d").drawImage(one, 0, 0);
      frame.time = time;
      if (side === 0 && !one.paused) this.correct();
      if (this.isReady && this.inStep()) {
        this.shown = performance.now();
        this.told.frame(this.frames[0].time);
      }
    }
    inStep() {
      if (this.failed[1]) return true;
      const apart = Math.abs(this.frames[0].time + this.offset - this.frames[1].time);
      return apart < 0.6 / this.entry.rate || performance.now() - (this.shown ?? 0) > 500;
    }
    correct() {
      const other = this.videos[1], late = this.leader.currentTime + this.offset - other.currentTime;
      if (this.failed[1] || other.seeking) return;
      if (Math.abs(late) > 0.4) other.currentTime = this.leader.currentTime + this.offset;
      other.playbackRate = this.leader.playbackRate * clamp(1 + late, 0.8, 1.25);
    }
    follow() {
      const other = this.videos[1];
      if (this.failed[1]) return;
      if (Math.abs(this.leader.currentTime + this.offset - other.currentTime) > 0.5 / this.entry.rate) {
        other.currentTime = this.leader.currentTime + this.offset;
      }
      other.play().catch(() => {});
    }
    draw(context, side, x, y, w, h) {
      const { picture } = this.frames[side];
      context.imageSmoothingEnabled ||= picture.width !== this.width;  // an input is smaller: no blocks
      context.drawImage(picture, x, y, w, h);
    }
    seek(time) {
      this.leader.currentTime = time;
      if (!this.failed[1]) this.videos[1].currentTime = time + this.offset;
    }
    play() { return this.leader.play(); }
    pause() { this.videos.forEach((one) => one.pause()); }
    close() { this.videos.forEach(close); }
  }

  class Pictures {
    constructor({ pictures }, entry, told) {
      Object.assign(this, { entry, told, index: 0 });
      this.pictures = pictures.map((sides) => sides.map((url, side) => {
        const picture = new Image();
        picture.addEventListener("load", () => told.frame(null));
        picture.addEventListener("error", () => told.failed(side));
        picture.src = url;
        return picture;
      }));
    }
    get shown() { return this.pictures[this.index]; }
    get width() { return this.shown[0].naturalWidth; }
    get height() { return this.shown[0].naturalHeight; }
    get isReady() { return this.shown.every((one) => one.complete && one.naturalWidth > 0); }
    get sides() { return this.shown.map((_, side) => side); }
    draw(context, side, x, y, w, h) {
      context.imageSmoothingEnabled ||= this.shown[side].naturalWidth !== this.width;
      context.drawImage(this.shown[side], x, y, w, h);
    }
    show(index) { this.index = index; this.told.frame(null); }
    replace(side, url) { for (const sides of this.pictures) sides[side].src = url; }
    close() {}
  }

  class Player extends HTMLElement {
    connectedCallback() {
      if (this.stage) return;
      this.entry = this.source = null;
      this.frame = 0;
      this.share = 1;
      this.center = [0.5, 0.5];
      this.build();
      this.listen();
    }

    build() {
      const button = (label, text) => element("button", { type: "button", "aria-label": label, title: label }, text);
      const option = ([value, text]) => new Option(text, value);
      this.zoom = element("select", {}, ...[["fit", "fit"], ["1", "1:1"], ["2", "2:1"], ["4", "4:1"]].map(option));
      this.view = element("select", {}, ...[["wipe", "wipe"], ["sides", "side by side"]].map(option));
      this.canvas = element("canvas", {});
      this.tags = [element("span", { class: "tag left" }), element("span", { class: "tag right" })];
      this.divider = element("div", { class: "divider" });
      this.message = element("p", { class: "failed", hidden: true });
      this.stage = element("div", { class: "stage", tabindex: "0", role: "group",
        "aria-label": "The two pictures. Space plays, arrow keys step, V changes the view, Z the zoom, M the sound." },
      this.canvas, ...this.tags, this.divider, this.message);
      this.split = element("input", { type: "range", min: "0", max: "1000", value: "500" });
      this.border = element("label", { class: "slider" }, "Border ", this.split);
      this.back = button("frame back", "\u2039");
      this.playButton = element("button", { type: "button", class: "play" }, "Play");
      this.next = button("next frame", "\u203a");
      this.seek = element("input", { type: "range", min: "0", value: "0", "aria-label": "frame" });
      this.told = element("output", {});
      this.soundButton = element("button", { type: "button", "aria-pressed": "true" }, "Sound");
      this.append(
        element("div", { class: "choices" }, element("label", {}, "View ", this.view), element("label", {}, "Zoom ", this.zoom),
          this.soundButton),
        this.stage, this.border,
        element("div", { class: "controls" }, this.back, this.playButton, this.next, this.seek, this.told));
      new ResizeObserver(() => this.draw()).observe(this.stage);
    }

    listen() {
      this.playButton.addEventListener("click", () => this.toggle());
      this.back.addEventListener("click", () => this.step(-1));
      this.next.addEventListener("click", () => this.step(1));
      this.seek.addEventListener("input", () => { this.stop(); this.show(Number(this.seek.value)); });
      this.split.addEventListener("input", () => this.draw());
      for (const select of [this.zoom, this.view]) select.addEventListener("change", () => this.draw());
      this.soundButton.addEventListener("click", () => this.setSound(this.source.leader.muted));
      this.stage.addEventListener("keydown", (event) => this.key(event));
      this.stage.addEventListener("pointerdown", (event) => this.grab(event));
      this.stage.addEventListener("pointermove", (event) => { if (this.held && event.buttons) this.held(event); });
      this.stage.addEventListener("pointerup", () => { this.held = null; });
      this.stage.addEventListener("dblclick", (event) => this.look(event));
    }

    load(entry) {
      this.connectedCallback();
      this.unload();
      this.entry = entry;
      this.frame = clamp(entry.first ?? 0, 0, entry.frames - 1);
      this.message.hidden = true;
      this.replaced = new Set();
      const kind = entry.source.packed ? Packed : entry.source.pair ? Pair : Pictures;
      const isOwn = () => this.entry === entry;
      const source = new kind(entry.source, entry, {
        frame: (time) => { if (isOwn()) this.presented(time); },
        failed: (side) => { if (isOwn()) this.fail(side); },
      });
      this.source = source;
      const leader = source.leader;
      if (leader) {
        leader.addEventListener("loadeddata", () => { if (isOwn()) this.show(this.frame); });
        leader.addEventListener("play", () => { if (isOwn()) this.playButton.textContent = "Pause"; });
        leader.addEventListener("pause", () => {
          if (!isOwn()) return;
          this.playButton.textContent = "Play";
          this.show(this.frame);  // both sides at the very frame
        });
      }
      this.playButton.textContent = "Play";
      this.playButton.hidden = !leader;
      this.soundButton.hidden = !entry.sound;
      if (leader) this.setSound(Boolean(entry.sound));
      this.border.hidden = this.view.parentElement.hidden = !entry.other;
      for (const part of [this.seek, this.back, this.next, this.told]) part.hidden = entry.frames < 2;
      this.seek.max = entry.frames - 1;
      if (!leader) source.show(this.frame);
      this.tell();
    }

    unload() {
      this.source?.close();
      this.source = this.entry = null;
    }

    get detail() { return this.share; }
    set detail(share) { this.share = clamp(Number(share), 0, 1); this.draw(); }

    setSound(isOn) {
      this.source.leader.muted = !isOn;
      this.soundButton.setAttribute("aria-pressed", String(isOn));
      this.soundButton.textContent = isOn ? "Sound on" : "Sound off";
    }

    fail(side) {
      if (this.entry.instead && !this.replaced.has(side)) {
        this.replaced.add(side);
        this.replace(side);
        return;
      }
      const name = side === 0 ? this.entry.result : this.entry.other;
      this.say(side, this.entry.failed?.[side] ?? `This browser cannot play: ${name}.`);
    }

    say(side, text) {
      this.message.textContent = text;
      this.message.hidden = false;
      this.message.classList.toggle("whole", side === 0);
      this.draw();
    }

    // Another file in the place of one that cannot be played.
    async replace(side) {
      const { entry } = this, isOwn = () => this.entry === entry;
      try {
        const url = await entry.instead(side, (text) => { if (isOwn()) this.say(side, text); });
        if (!isOwn()) return;
        this.message.hidden = true;
        this.source.replace(side, url);
        if (this.source.leader) this.source.seek((this.frame + 0.5) / entry.rate);
      } catch (error) {
        if (isOwn()) this.say(side, error.message);
      }
    }

    presented(time) {
      if (time !== null && !this.source.leader.paused) {
        this.frame = clamp(Math.floor(time * this.entry.rate + 0.25), 0, this.entry.frames - 1);
        this.tell();
      }
      this.draw();
    }

    show(index) {
      this.frame = clamp(index, 0, this.entry.frames - 1);
      if (this.source.leader) this.source.seek((this.frame + 0.5) / this.entry.rate); else this.source.show(this.frame);
      this.tell();
    }

    step(count) { this.stop(); this.show(this.frame + count); }
    stop() { this.source?.leader?.pause(); }
    toggle() {
      const leader = this.source?.leader;
      if (!leader) return;
      if (leader.paused) this.source.play().catch(() => {}); else this.source.pause();
    }

    tell() {
      this.seek.value = this.frame;
      this.told.value = `frame ${this.frame} / ${this.entry.frames - 1}`;
      this.dispatchEvent(new CustomEvent("frame", { detail: { frame: this.frame } }));
    }

    // ---- drawing: each pane shows a side around a centre, at a number of canvas pixels for a pixel of the picture

    panes(width, height) {
      const [first, second] = this.order;
      if (second === undefined) return [[first, 0, 0, width, height]];
      if (this.view.value === "sides") {
        if (this.isStacked) return [[first, 0, 0, width, height / 2], [second, 0, height / 2, width, height / 2]];
        return [[first, 0, 0, width / 2, height], [second, width / 2, 0, width / 2, height]];
      }
      const at = Math.round((this.split.value / 1000) * width);
      return [[first, 0, 0, width, height, 0, at], [second, 0, 0, width, height, at, width]];
    }

    get order() {
      const sides = this.source.sides;
      return this.entry.otherOnLeft ? [...sides].reverse() : sides;
    }
    get isSides() { return this.source.sides.length > 1 && this.view.value === "sides"; }
    get isStacked() { return this.source.width > this.source.height && this.clientWidth < 640; }

    draw() {
      const source = this.source;
      if (!source || !source.isReady || !source.width) return;
      const columns = this.isSides && !this.isStacked ? 2 : 1, rows = this.isSides && this.isStacked ? 2 : 1;
      const aspect = (source.width * columns) / (source.height * rows);
      this.stage.style.aspectRatio = String(aspect);
      this.stage.style.maxWidth = `calc(80vh * ${aspect})`;
      const box = this.stage.getBoundingClientRect(), dense = window.devicePixelRatio || 1;
      const width = Math.max(1, Math.round(box.width * dense)), height = Math.max(1, Math.round(box.height * dense));
      if (this.canvas.width !== width) this.canvas.width = width;
      if (this.canvas.height !== height) this.canvas.height = height;
      const context = this.canvas.getContext("2d");
      context.clearRect(0, 0, width, height);
      const panes = this.panes(width, height);
      this.scale = this.zoom.value === "fit" ? Math.min(panes[0][3] / source.width, panes[0][4] / source.height) :
        Number(this.zoom.value);
      for (const pane of panes) this.drawPane(context, pane);
      const isWipe = panes.length > 1 && !this.isSides;
      this.divider.hidden = !isWipe;
      this.border.hidden = !isWipe;
      this.divider.style.left = this.split.value / 10 + "%";
      this.drawTags(panes);
      this.stage.style.cursor = this.zoom.value === "fit" ? (isWipe ? "ew-resize" : "default") : "grab";
    }

    drawPane(context, [side, x, y, width, height, from = x, to = x + width]) {
      const source = this.source, scale = this.scale, size = [source.width * scale, source.height * scale];
      const place = [[x, width], [y, height]].map(([start, length], axis) => size[axis] <= length ?
        start + (length - size[axis]) / 2 : clamp(start + length / 2 - this.center[axis] * size[axis],
          start + length - size[axis], start));
      context.save();
      context.beginPath();
      context.rect(from, y, to - from, height);
      context.clip();
      context.imageSmoothingEnabled = scale < 1;
      context.imageSmoothingQuality = "high";
      const at = scale < 1 ? [...place, ...size] : [...place.map(Math.round), ...size];
      const blends = side === 0 && this.share < 1 && source.sides.length > 1;
      if (blends) source.draw(context, 1, ...at);
      context.globalAlpha = blends ? this.share : 1;
      source.draw(context, side, ...at);
      context.restore();
    }

    drawTags(panes) {
      const names = [this.entry.result, this.entry.other];
      this.tags.forEach((tag, place) => {
        tag.hidden = !panes[place];
        if (panes[place]) tag.textContent = names[panes[place][0]];
      });
      this.tags[0].classList.toggle("above", this.isSides && this.isStacked);
    }

    // ---- pointer and keys

    place(event) {
      const box = this.stage.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    }

    grab(event) {
      if (!this.source) return;
      const isWipe = !this.divider.hidden, near = Math.abs(this.place(event)[0] - this.split.value / 1000);
      const takesBorder = isWipe && (this.zoom.value === "fit" || near * this.stage.clientWidth < 28);
      if (!takesBorder && this.zoom.value === "fit") return;
      this.stage.setPointerCapture(event.pointerId);
      if (takesBorder) {
        this.held = (now) => { this.split.value = 1000 * clamp(this.place(now)[0], 0, 1); this.draw(); };
        this.held(event);
        return;
      }
      let last = [event.clientX, event.clientY];
      this.held = (now) => {
        const moved = [now.clientX - last[0], now.clientY - last[1]];
        last = [now.clientX, now.clientY];
        this.pan(moved.map((pixels) => -pixels * (window.devicePixelRatio || 1)));
      };
    }

    pan(pixels) {
      const size = [this.source.width * this.scale, this.source.height * this.scale];
      const pane = this.panes(this.canvas.width, this.canvas.height)[0];
      this.center = this.center.map((part, axis) => {
        const half = Math.min(0.5, pane[3 + axis] / size[axis] / 2);
        return clamp(clamp(part, half, 1 - half) + pixels[axis] / size[axis], half, 1 - half);
      });
      this.draw();
    }

    look(event) {
      if (!this.source || this.zoom.value !== "fit" || this.isSides) return;
      this.center = this.place(event);
      this.zoom.value = "1";
      this.draw();
    }

    key(event) {
      if (!this.source || event.target !== this.stage || event.ctrlKey || event.metaKey || event.altKey) return;
      const cycle = (select) => {
        if (select.parentElement.hidden) return;
        select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
        this.draw();
      };
      const far = 64, move = event.shiftKey && this.zoom.value !== "fit";
      const deeds = { " ": () => this.toggle(), ArrowLeft: () => (move ? this.pan([-far, 0]) : this.step(-1)),
        ArrowRight: () => (move ? this.pan([far, 0]) : this.step(1)), Home: () => this.step(-this.frame),
        End: () => this.step(this.entry.frames), v: () => cycle(this.view), z: () => cycle(this.zoom),
        m: () => { if (this.entry.sound) this.setSound(this.source.leader.muted); } };
      if (move) Object.assign(deeds, { ArrowUp: () => this.pan([0, -far]), ArrowDown: () => this.pan([0, far]) });
      const deed = deeds[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (deed) { event.preventDefault(); deed(); }
    }
  }

  if (!customElements.get("starvsr-player")) customElements.define("starvsr-player", Player);
})();
