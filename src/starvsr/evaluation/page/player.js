(() => {
  "use strict";
  const holder = document.getElementById("clips-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const el = (name) => document.getElementById("p-" + name);
  const canvas = el("canvas"), context = canvas.getContext("2d");
  const stage = el("stage"), divider = el("divider"), split = el("split"), seek = el("seek");
  let entry = null, video = null, frame = 0, center = [0.5, 0.5];

  const unique = (values) => [...new Set(values)];
  const fill = (select, values) => {
    const before = select.value;
    select.replaceChildren(...values.map((value) => new Option(value, value)));
    if (values.includes(before)) select.value = before;
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function draw() {
    if (!entry || !video || video.readyState < 2) return;
    const { width, height, across, other } = entry;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const zoom = Number(el("zoom").value), w = width / zoom, h = height / zoom;
    const x = clamp(center[0] * width - w / 2, 0, width - w), y = clamp(center[1] * height - h / 2, 0, height - h);
    const at = other ? split.value / 1000 : 1;
    context.imageSmoothingEnabled = zoom === 1;
    context.drawImage(video, x, y, w, h, 0, 0, width, height);
    if (other && at < 1) {
      const left = Math.round(at * width), part = (left / width) * w;
      context.drawImage(video, (across ? width : 0) + x + part, (across ? 0 : height) + y, w - part, h,
        left, 0, width - left, height);
    }
    divider.style.left = at * 100 + "%";
    divider.hidden = !other;
  }

  function tell() {
    seek.value = frame;
    el("frame").value = `frame ${frame} / ${entry.frames - 1}`;
    el("values").replaceChildren(...Object.entries(entry.values).map(([name, values]) => {
      const row = document.createElement("div"), term = document.createElement("dt"), value = document.createElement("dd");
      const found = values[frame];
      term.textContent = name;
      value.textContent = found === null || found === undefined ? "-" :
        typeof found === "number" ? found.toFixed(data.digits[name] ?? 3) : found.replace("inf", "\u221e");
      row.append(term, value);
      return row;
    }));
    for (const plot of document.querySelectorAll("svg[data-clip]")) {
      const line = plot.querySelector(".here"), count = Number(plot.dataset.frames);
      const x = plot.dataset.clip === entry.clip ? (1000 * frame) / Math.max(count - 1, 1) : -9;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }

  function show(index) {
    frame = clamp(index, 0, entry.frames - 1);
    video.currentTime = (frame + 0.5) / entry.rate;
    tell();
  }

  function onFrame(time) {
    frame = clamp(Math.floor(time * entry.rate + 0.25), 0, entry.frames - 1);
    draw();
    tell();
  }

  function load(first) {
    entry = data.clips.find((one) => one.clip === el("clip").value && one.method === el("method").value);
    if (video) { video.pause(); video.removeAttribute("src"); video.load(); }
    const own = video = document.createElement("video");
    video.muted = video.playsInline = video.loop = true;
    video.preload = "auto";
    el("failed").hidden = true;
    video.addEventListener("error", () => { if (own === video) el("failed").hidden = false; });
    video.addEventListener("loadeddata", () => { if (own === video) { draw(); show(first); } });
    video.addEventListener("seeked", () => { if (own === video) draw(); });
    video.addEventListener("play", () => { el("play").textContent = "Pause"; });
    video.addEventListener("pause", () => { if (own === video) el("play").textContent = "Play"; });
    if (video.requestVideoFrameCallback) {
      const next = (_, facts) => {
        if (own !== video) return;
        if (!video.paused) onFrame(facts.mediaTime); else draw();
        video.requestVideoFrameCallback(next);
      };
      video.requestVideoFrameCallback(next);
    } else {
      const tick = () => {
        if (own !== video) return;
        if (!video.paused) onFrame(video.currentTime);
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    }
    video.src = entry.src;
    canvas.width = entry.width;
    canvas.height = entry.height;
    stage.style.aspectRatio = `${entry.width} / ${entry.height}`;
    stage.style.maxWidth = `min(100%, ${Math.max(entry.width, 480)}px, calc(80vh * ${entry.width / entry.height}))`;
    el("left").textContent = entry.method;
    el("right").textContent = entry.other;
    el("right").hidden = split.parentElement.hidden = !entry.other;
    seek.max = entry.frames - 1;
    frame = first;
    tell();
  }

  function choose(clip, method, index) {
    if (!data.clips.some((one) => one.clip === clip)) return false;
    el("clip").value = clip;
    fill(el("method"), data.clips.filter((one) => one.clip === clip).map((one) => one.method));
    if (method) el("method").value = method;
    load(index);
    return true;
  }

  const toggle = () => (video.paused ? video.play().catch(() => {}) : video.pause());
  const step = (count) => { video.pause(); show(frame + count); };
  el("play").addEventListener("click", toggle);
  el("back").addEventListener("click", () => step(-1));
  el("next").addEventListener("click", () => step(1));
  seek.addEventListener("input", () => { video.pause(); show(Number(seek.value)); });
  split.addEventListener("input", draw);
  el("zoom").addEventListener("change", draw);
  el("clip").addEventListener("change", () => choose(el("clip").value, null, 0));
  el("method").addEventListener("change", () => load(frame));
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const drag = (event) => { split.value = 1000 * clamp(place(event)[0], 0, 1); draw(); };
  stage.addEventListener("pointerdown", (event) => { stage.setPointerCapture(event.pointerId); drag(event); });
  stage.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  stage.addEventListener("dblclick", (event) => {
    const zoom = Number(el("zoom").value), at = place(event);
    center = at.map((part, axis) => clamp(clamp(center[axis], 0.5 / zoom, 1 - 0.5 / zoom) + (part - 0.5) / zoom, 0, 1));
    draw();
  });
  stage.addEventListener("keydown", (event) => {
    const deed = { " ": toggle, ArrowLeft: () => step(-1), ArrowRight: () => step(1) }[event.key];
    if (deed) { event.preventDefault(); deed(); }
  });
  const go = (clip, method, index) => { if (choose(clip, method, index)) stage.scrollIntoView({ block: "center" }); };
  for (const plot of document.querySelectorAll("svg[data-clip]")) {
    plot.addEventListener("click", (event) => {
      const box = plot.getBoundingClientRect(), part = (event.clientX - box.left) / box.width;
      go(plot.dataset.clip, el("method").value, Math.round(part * (Number(plot.dataset.frames) - 1)));
    });
  }
  for (const picture of document.querySelectorAll(".card .whole")) {
    picture.addEventListener("click", () => {
      const card = picture.closest(".card").dataset;
      go(card.clip, card.method, Number(card.frame));
    });
  }
  fill(el("clip"), unique(data.clips.map((one) => one.clip)));
  choose(data.clips[0].clip, null, 0);
})();
