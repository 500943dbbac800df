(() => {
  "use strict";
  const holder = document.getElementById("clips-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const el = (name) => document.getElementById("p-" + name);
  const player = el("player");
  let entry = null;

  const unique = (values) => [...new Set(values)];
  const fill = (select, values) => {
    const before = select.value;
    select.replaceChildren(...values.map((value) => new Option(value, value)));
    if (values.includes(before)) select.value = before;
  };

  function tell() {
    const frame = player.frame;
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

  function load(first) {
    entry = data.clips.find((one) => one.clip === el("clip").value && one.method === el("method").value);
    player.load({ source: { packed: entry.src, width: entry.width, height: entry.height, across: entry.across },
      frames: entry.frames, rate: entry.rate, result: entry.method, other: entry.other, first });
  }

  function choose(clip, method, index) {
    if (!data.clips.some((one) => one.clip === clip)) return false;
    el("clip").value = clip;
    fill(el("method"), data.clips.filter((one) => one.clip === clip).map((one) => one.method));
    if (method) el("method").value = method;
    load(index);
    return true;
  }

  player.addEventListener("frame", tell);
  el("clip").addEventListener("change", () => choose(el("clip").value, null, 0));
  el("method").addEventListener("change", () => load(player.frame));
  const go = (clip, method, index) => { if (choose(clip, method, index)) player.scrollIntoView({ block: "center" }); };
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
