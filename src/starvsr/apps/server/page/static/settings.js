// Values of the controls that Gradio laid out, by the options that the API lists.

import { make } from "./api.js";

const DEFAULT = "default";

export class Settings {
  // changed(): called when a value is another one.
  constructor(fields, place, changed) {
    this.fields = fields;
    this.hidden = document.head.appendChild(make("style"));
    const further = document.getElementById("further");
    this.more = make("button", { type: "button", "aria-expanded": "false", "aria-controls": "further" }, "All settings");
    this.more.addEventListener("click", () => {
      const isOpen = further.classList.toggle("open");
      this.more.setAttribute("aria-expanded", String(isOpen));
    });
    place.replaceChildren(this.more);
    this.last = "";
    setInterval(() => {
      const now = JSON.stringify([this.options(), this.container]);
      if (now === this.last) return;
      this.last = now;
      this.show();
      changed();
    }, 250);
  }

  input(name) {
    const root = document.getElementById(`field-${name}`);
    return root?.querySelector("input[type=number], input:not([type=range]), textarea") ?? null;
  }

  get model() { return this.input("model")?.value; }
  get container() { return this.input("container")?.value ?? "mp4"; }
  get detail() { return Number(this.input("detail")?.value ?? 1); }
  set detail(value) {
    const input = this.input("detail");
    if (!input) return;
    input.value = String(value);
    for (const name of ["input", "change", "blur"]) input.dispatchEvent(new Event(name, { bubbles: true }));
  }

  honours(field) { return field.models === null || field.models.includes(this.model); }

  // The options that differ from their defaults, as the API takes them.
  options() {
    const found = { model: this.model };
    for (const field of this.fields) {
      const input = this.input(field.name);
      if (field.name === "model" || !input || !this.honours(field)) continue;
      const value = input.type === "checkbox" ? input.checked : input.value.trim();
      const plain = field.name === "detail" ? field.default ?? 1 : field.default ?? "";
      if (value === "" || value === DEFAULT || String(value) === String(plain)) continue;
      if (typeof value === "string" && ["int", "float"].includes(field.kind) && Number(value) === Number(plain) && plain !== "") continue;
      found[field.name] = value;
    }
    return found;
  }

  // Hide what the chosen model has no use for, and headings with nothing below.
  show() {
    const gone = this.fields.filter((field) => !this.honours(field));
    this.hidden.textContent = gone.map((field) => `#field-${field.name}`).join(",") + "{display:none!important}";
    for (const heading of document.querySelectorAll(".starvsr-group")) {
      const group = heading.textContent.trim();
      const left = this.fields.some((field) => field.group === group && this.honours(field) && this.input(field.name)?.closest("#further"));
      heading.classList.toggle("empty", !left);
    }
  }
}
