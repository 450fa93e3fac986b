// The list of classes, one of which is drawn, and the form that changes them.

import { getClasses, putClasses } from "./api.js";
import { NOBODY } from "./mask.js";

const byId = (id) => document.getElementById(id);
const hex = (color) => "#" + color.map((c) => c.toString(16).padStart(2, "0")).join("");
const rgb = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
// Distinct colours for what is added, told apart by most eyes.
const NEW = ["#f0a3ff", "#0075dc", "#993f00", "#4c005c", "#005c31", "#2bce48", "#ffcc99", "#94ffb5", "#8f7c00",
  "#9dcc00", "#c20088", "#003380", "#ffa405", "#ffa8bb", "#426600", "#ff0010", "#5ef1f2", "#00998f"];

export class Classes {
  // `chosen(id)` is called when another class is to be drawn, `changed(colors)` when there are others.
  constructor({ chosen, changed, refused }) {
    Object.assign(this, { chosen, changed, refused });
    this.all = [];
    this.id = 0;
    this.edited = null;
    byId("add-class").onclick = () => this.edit(this.all.length);
    byId("class-dialog").addEventListener("close", () => this.#closed());
  }

  async load() {
    const found = await getClasses();
    this.all = found.classes;
    this.fixed = found.fixed;
    byId("add-class").hidden = this.fixed;
    this.#show();
    this.changed(this.all.map((c) => c.color));
  }

  name(id) {
    return id === NOBODY ? "nobody knows" : this.all[id].name;
  }

  choose(id) {
    if (id !== NOBODY && !this.all[id]) return;
    this.id = id;
    this.#show();
    this.chosen(id);
  }

  // The class before or after, round and round.
  step(by) {
    const ids = [...this.all.keys(), NOBODY];
    this.choose(ids[(ids.indexOf(this.id) + by + ids.length) % ids.length]);
  }

  edit(id) {
    const used = new Set(this.all.map((c) => hex(c.color)));
    const color = this.all[id] ? hex(this.all[id].color) : NEW.find((c) => !used.has(c)) ?? "#808080";
    this.edited = id;
    byId("class-title").textContent = this.all[id] ? `Class ${id}` : "Add a class";
    byId("class-name").value = this.all[id]?.name ?? "";
    byId("class-color").value = color;
    byId("class-dialog").returnValue = "";
    byId("class-dialog").showModal();
  }

  async #closed() {
    if (byId("class-dialog").returnValue !== "save") return;
    const classes = this.all.slice();
    classes[this.edited] = { name: byId("class-name").value.trim(), color: rgb(byId("class-color").value) };
    try {
      await putClasses(classes);
      const added = this.edited === this.all.length;
      await this.load();
      if (added) this.choose(this.edited);
    } catch (error) {
      this.refused(error.message);
    }
  }

  #show() {
    byId("classes").replaceChildren(...this.all.map((_, id) => this.#row(id)), this.#row(NOBODY));
  }

  #row(id) {
    const row = document.createElement("li"), pick = document.createElement("button");
    const swatch = document.createElement("i"), name = document.createElement("span"), key = document.createElement("kbd");
    const number = id === NOBODY ? "0" : id < 9 ? String(id + 1) : "";
    pick.className = "pick";
    pick.dataset.id = id;
    pick.setAttribute("aria-pressed", String(id === this.id));
    swatch.style.background = id === NOBODY ? "repeating-conic-gradient(#fff 0 25%, #5a5a5a 0 50%)" : hex(this.all[id].color);
    name.textContent = this.name(id);
    key.textContent = number;
    pick.append(swatch, name, ...(number ? [key] : []));
    pick.onclick = () => this.choose(id);
    row.append(pick);
    if (id !== NOBODY && !this.fixed) {
      const edit = document.createElement("button");
      edit.textContent = "✎";
      edit.title = edit.ariaLabel = `Rename or recolour ${this.name(id)}`;
      edit.onclick = () => this.edit(id);
      row.append(edit);
    }
    return row;
  }
}
