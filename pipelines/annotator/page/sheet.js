// All images with their state; a click opens one.

import { imageAddress } from "./api.js";

const STATES = ["untouched", "begun", "done"];

export class Sheet {
  constructor(section, open) {
    this.section = section;
    this.grid = section.querySelector("#grid");
    this.counts = section.querySelector("#counts");
    this.open = open;
    this.rows = new Map(); // name -> button
    this.images = [];
  }

  show(images) {
    this.images = images;
    this.rows.clear();
    this.grid.replaceChildren(...images.map((image) => this.#row(image)));
    this.count();
  }

  setState(name, state) {
    const image = this.images.find((each) => each.name === name), row = this.rows.get(name);
    if (!image || !row) return;
    image.state = state;
    this.#mark(row, image);
    this.count();
  }

  count() {
    const numbers = STATES.map((state) => `${this.images.filter((i) => i.state === state).length} ${state}`);
    this.counts.textContent = numbers.join(", ");
  }

  #row(image) {
    const row = document.createElement("button"), picture = document.createElement("img");
    const state = document.createElement("span"), name = document.createElement("span");
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.alt = "";
    picture.src = imageAddress(image.name);
    state.className = "state";
    name.textContent = row.title = image.name;
    row.append(picture, state, name);
    row.onclick = () => this.open(image.name);
    this.rows.set(image.name, row);
    this.#mark(row, image);
    return row;
  }

  #mark(row, image) {
    row.dataset.state = image.state;
    row.querySelector(".state").textContent = image.state;
  }
}
