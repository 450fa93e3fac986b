// The page: what the modules do, brought together.

import { addImage, getImage, getMask, getState, listen, setDone, tab } from "./api.js";
import { Classes } from "./classes.js";
import { Drawing } from "./drawing.js";
import { table } from "./commands.js";
import { listenToKeys, listKeys } from "./keys.js";
import { Mask } from "./mask.js";
import { Saving } from "./saving.js";
import { showScore } from "./score.js";
import { Sheet } from "./sheet.js";
import { accept, Suggestion } from "./suggestion.js";
import { View } from "./view.js";

const byId = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.name = null; // of the open image
    this.masks = new Map(); // name -> Mask, with all its steps
    this.order = []; // [name, score], what is worth most first
    this.view = new View(byId("canvas"));
    this.drawing = new Drawing(this.view, {
      finished: () => this.#stepped(), tell: (text) => this.tell(text),
      sizeChanged: (size) => { byId("size").value = size; byId("size-shown").textContent = size; },
    });
    this.classes = new Classes({
      chosen: (id) => this.#draws(id), refused: (sentence) => this.notice(sentence),
      changed: (colors) => { this.view.colors = colors; this.view.changed("mask", "suggestion"); },
    });
    this.saving = new Saving({
      conflict: (name, sentence, isConflict) => this.#conflict(name, sentence, isConflict),
      state: (text) => { byId("saved").textContent = text; },
    });
    this.sheet = new Sheet(byId("sheet"), (name) => this.open(name));
  }

  async start() {
    await this.classes.load();
    this.watch = listen((message) => this.#heard(message), (there) => this.#connected(there));
    await this.refresh();
    const wanted = decodeURIComponent(location.hash.slice(1));
    const names = this.sheet.images.map((image) => image.name);
    const first = this.sheet.images.find((image) => image.state === "untouched")?.name ?? names[0];
    if (names.length) await this.open(names.includes(wanted) ? wanted : first);
    byId("empty").hidden = names.length > 0;
    if (!names.length) this.next();
    document.body.dataset.ready = "yes";
  }

  tell(text) {
    byId("status").textContent = text;
  }

  notice(sentence, buttons = {}) {
    byId("notice-text").textContent = sentence;
    const made = Object.entries({ ...buttons, Close: () => {} }).map(([label, does]) => {
      const button = document.createElement("button");
      button.textContent = label;
      button.onclick = () => { byId("notice").hidden = true; does(); };
      return button;
    });
    byId("notice-buttons").replaceChildren(...made);
    byId("notice").hidden = false;
  }

  async refresh() {
    const state = await getState();
    this.order = state.order;
    this.sheet.show(state.images);
    document.title = `${state.folder} · Annotate`;
    if (state.mistakes.length) this.notice(state.mistakes.slice(0, 3).join("; "));
  }

  async open(name) {
    this.showSheet(false);
    if (this.view.corners.length) this.drawing.cancel();
    this.asked = name;
    try {
      const [image, found] = await Promise.all([getImage(name), getMask(name)]);
      if (this.asked !== name) return; // another one was asked for meanwhile
      const kept = this.masks.get(name);
      const same = kept && (kept.revision === found.revision || this.saving.waiting.has(name));
      if (!same) this.masks.set(name, new Mask(found));
      Object.assign(this.view, { image, mask: this.masks.get(name), suggestion: null });
      this.name = name;
      this.#named(found.state);
      this.view.changed("mask", "suggestion", "doubt");
      this.view.fit();
      this.watch(name);
      history.replaceState(null, "", `#${encodeURIComponent(name)}`);
      this.tell(`${name} is open`);
    } catch (error) {
      this.notice(error.message);
    }
  }

  #named(state) {
    const names = this.sheet.images.map((image) => image.name);
    byId("name").textContent = this.name;
    byId("position").textContent = `${names.indexOf(this.name) + 1} of ${names.length}`;
    byId("done").setAttribute("aria-pressed", String(state === "done"));
  }

  step(by) {
    const names = this.sheet.images.map((image) => image.name), place = names.indexOf(this.name) + by;
    if (names[place]) this.open(names[place]);
  }

  // To the image of which most is to be learnt.
  next() {
    const states = new Map(this.sheet.images.map((image) => [image.name, image.state]));
    const free = (name) => name !== this.name && states.get(name) === "untouched";
    const name = this.order.map(([each]) => each).find(free) ?? [...states.keys()].find(free);
    if (name) this.open(name);
    else this.tell(states.size ? "Every image is begun or done" : "Add images to begin");
  }

  async done(wanted = byId("done").getAttribute("aria-pressed") !== "true") {
    if (!this.name) return;
    await this.saving.running;
    const { state } = await setDone(this.name, wanted);
    this.#named(state);
    this.sheet.setState(this.name, state);
  }

  showSheet(wanted = byId("sheet").hidden) {
    byId("sheet").hidden = !wanted;
    byId("work").hidden = wanted;
    if (!wanted) this.view.redraw();
    else this.sheet.rows.get(this.name)?.focus();
  }

  #draws(id) {
    this.drawing.id = id;
    this.tell(`Draws ${this.classes.name(id)}`);
  }

  choose(tool) {
    this.drawing.choose(tool);
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    }
  }

  #stepped() {
    this.view.changed("mask");
    this.saving.save(this.name, this.view.mask);
  }

  undo() {
    if (this.view.mask?.undo()) this.#stepped();
  }

  redo() {
    if (this.view.mask?.redo()) this.#stepped();
  }

  // Take over what is suggested: everywhere, of the class that is drawn, or where it is surer than the slider says.
  accept(which) {
    const { mask, suggestion } = this.view;
    if (!suggestion) {
      this.tell("There is no suggestion yet; draw two classes first");
      return;
    }
    const most = 255 * (1 - byId("sure").value / 100);
    const wanted = {
      all: () => true, class: (place) => suggestion.ids[place] === this.drawing.id,
      sure: (place) => suggestion.doubt[place] <= most,
    }[which];
    if (accept(mask, suggestion, mask.ids.keys(), wanted)) this.#stepped();
  }

  layer(name) {
    const box = document.querySelector(`[data-layer="${name}"]`);
    box.checked = this.view.layers[name] = !this.view.layers[name];
    this.view.redraw();
  }

  opacity(by) {
    byId("opacity").value = Number(byId("opacity").value) + by;
    byId("opacity").oninput();
  }

  theme() {
    const dark = document.documentElement.dataset.theme !== "dark";
    document.documentElement.dataset.theme = localStorage.theme = dark ? "dark" : "light";
  }

  async add(files) {
    let last = null;
    for (const file of files) {
      try {
        last = (await addImage(file)).name;
      } catch (error) {
        this.notice(`${file.name}: ${error.message}`);
      }
    }
    await this.refresh();
    byId("empty").hidden = this.sheet.images.length > 0;
    if (last) await this.open(last);
  }

  #conflict(name, sentence, isConflict) {
    const again = { "Take the other": () => { this.masks.delete(name); this.open(name); } };
    const keep = { "Keep what is here": () => this.saving.keep(name, this.masks.get(name)) };
    this.notice(sentence, isConflict ? { ...again, ...keep } : again);
  }

  #connected(there) {
    document.body.dataset.live = there ? "yes" : "no";
    if (!there) this.tell("The interpreter does not answer; it is tried again");
  }

  #heard(message) {
    const { kind, name } = message;
    if (kind === "suggestion" && name === this.name) {
      this.view.suggestion = new Suggestion(message);
      this.view.changed("suggestion", "doubt");
      this.tell(`Suggested after ${message.seconds.toFixed(1)} s`);
      document.body.dataset.suggested = Number(document.body.dataset.suggested ?? 0) + 1;
    } else if (kind === "waiting") this.tell("Draw two classes, in strokes; then the interpreter suggests the rest");
    else if (kind === "reading") this.tell(`The model reads ${name}`);
    else if (kind === "refused" && name === this.name) this.notice(`No suggestion for ${name}: ${message.why}`);
    else if (kind === "ahead" || kind === "maps") this.#ahead(message);
    else if (kind === "validation") showScore(message, this.classes.all);
    else if (kind === "classes") this.classes.load();
    else if (kind === "images") this.refresh();
    else if (kind === "state" || kind === "saved") this.#changedElsewhere(message);
  }

  #ahead({ left, order }) {
    const bar = byId("ahead");
    if (order) this.order = order;
    bar.hidden = left === 0;
    bar.max = Math.max(left, left ? bar.max : 1);
    bar.value = bar.max - left;
  }

  #changedElsewhere(message) {
    this.sheet.setState(message.name, message.state);
    if (message.name === this.name) byId("done").setAttribute("aria-pressed", String(message.state === "done"));
    const strange = message.kind === "saved" && message.tab !== tab && message.name === this.name;
    if (!strange || message.revision === this.view.mask.revision) return;
    const show = () => { this.masks.delete(message.name); this.open(message.name); };
    this.notice(`${message.name} was changed in another tab.`, { "Show that": show });
  }
}

const page = new Page();
const keys = table(page);
listenToKeys(keys, byId("canvas"));
listKeys(keys, byId("keys"));
await page.start();
