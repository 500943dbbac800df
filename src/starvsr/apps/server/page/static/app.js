// Puts the parts of the page into the places that Gradio laid out.

import { get, list, make, post } from "./api.js";
import { Actions } from "./actions.js";
import { Jobs } from "./jobs.js";
import { Settings } from "./settings.js";
import { Source } from "./source.js";
import { Viewer } from "./viewer.js";

const PLACES = ["header", "source", "more", "actions", "viewer", "jobs"];
const at = (name) => document.getElementById(`starvsr-${name}`);

async function laidOut() {
  while (!PLACES.every((name) => at(name)) || !document.querySelector("#field-model input")) {
    await new Promise((done) => setTimeout(done, 50));
  }
}

function header(about) {
  const lost = make("p", { class: "lost", role: "status", hidden: true }, "The server cannot be reached; jobs go on when it is back. Trying again.");
  const out = make("button", { type: "button" }, `Log out ${about.user}`);
  out.addEventListener("click", async () => { await post("/logout"); location.reload(); });
  at("header").replaceChildren(make("div", { class: "title" }, make("h1", {}, "starvsr"),
    make("span", {}, "sharper, larger, steady video"), about.login ? out : null), lost);
  return (isLost) => { lost.hidden = !isLost; };
}

async function start() {
  const [about, fields] = await Promise.all([get("/server"), list("/options"), laidOut()]);
  document.documentElement.lang = "en";
  const lost = header(about);
  let actions = null;
  let viewer = null;
  const settings = new Settings(fields, at("more"), () => { actions?.update(); viewer?.follow(); });
  viewer = new Viewer(at("viewer"), settings);
  const jobs = new Jobs(at("jobs"), { watch: (job) => viewer.result(job), gone: (id) => viewer.close(id), lost });
  actions = new Actions(at("actions"), settings, { previewed: (job) => viewer.preview(job), started: () => jobs.refresh() });
  new Source(at("source"), about, (source) => actions.choose(source));
  document.documentElement.dataset.ready = "yes";
}

start();
