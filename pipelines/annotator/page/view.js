// One canvas: image, suggestion, mask and uncertainty above each other, moved and enlarged.

import { ACCEPTED, DRAWN, NOBODY } from "./mask.js";

function edges({ width, height, origin }) {
  const path = new Path2D(), drawn = (x, y) => origin[y * width + x] === DRAWN;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!drawn(x, y)) continue;
      const sides = [
        [x === 0 || !drawn(x - 1, y), x, y, x, y + 1], [x === width - 1 || !drawn(x + 1, y), x + 1, y, x + 1, y + 1],
        [y === 0 || !drawn(x, y - 1), x, y, x + 1, y], [y === height - 1 || !drawn(x, y + 1), x, y + 1, x + 1, y + 1],
      ];
      for (const [open, ...[left, top, right, bottom]] of sides) {
        if (!open) continue;
        path.moveTo(left, top);
        path.lineTo(right, bottom);
      }
    }
  }
  return path;
}

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.scale = 1;
    this.left = this.top = 0; // of the image, in CSS pixels
    this.layers = { image: true, mask: true, suggestion: true, doubt: false };
    this.opacity = 0.6;
    this.image = this.mask = this.suggestion = null;
    this.colors = [];
    this.corners = []; // of a polygon that is being drawn
    this.cursor = null; // { x, y, size }, in image coordinates
    this.surfaces = {};
    new ResizeObserver(() => {
      this.fit();
      this.redraw();
    }).observe(canvas);
  }

  // Where a point of the page lies in the image.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left - this.left) / this.scale, y: (event.clientY - box.top - this.top) / this.scale };
  }

  fit() {
    if (!this.mask) return;
    const { clientWidth, clientHeight } = this.canvas;
    this.scale = Math.max(0.05, Math.min(clientWidth / this.mask.width, clientHeight / this.mask.height) * 0.94);
    this.left = (clientWidth - this.mask.width * this.scale) / 2;
    this.top = (clientHeight - this.mask.height * this.scale) / 2;
    this.redraw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.max(0.1, Math.min(80, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.redraw();
  }

  move(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.redraw();
  }

  // Mask or suggestion have changed.
  changed(...names) {
    for (const name of names) delete this.surfaces[name];
    if (names.includes("mask")) this.edges = null;
    if (names.includes("suggestion")) this.most = null;
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.#draw();
    });
  }

  #draw() {
    const { canvas, context, mask } = this, ratio = devicePixelRatio;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    if (!mask) return;
    context.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.left, ratio * this.top);
    context.imageSmoothingEnabled = false;
    const whole = [0, 0, mask.width, mask.height];
    if (this.layers.image && this.image) context.drawImage(this.image, ...whole);
    if (this.layers.suggestion && this.suggestion) {
      context.globalAlpha = this.opacity * 0.75;
      context.drawImage(this.#surface("suggestion", this.suggestion, this.#suggested), ...whole);
    }
    if (this.layers.mask) {
      context.globalAlpha = this.opacity;
      context.drawImage(this.#surface("mask", mask, this.#masked), ...whole);
    }
    if (this.layers.doubt && this.suggestion) {
      context.globalAlpha = Math.max(0.35, this.opacity);
      context.drawImage(this.#surface("doubt", this.suggestion, this.#doubted), ...whole);
    }
    context.globalAlpha = 1;
    if (this.layers.mask && this.scale >= 3) this.#outline();
    this.#marks();
  }

  // Around what a person drew, so that it is told from what is suggested.
  #outline() {
    this.edges ??= edges(this.mask);
    this.context.lineWidth = 1.2 / this.scale;
    this.context.strokeStyle = "rgba(255, 255, 255, 0.85)";
    this.context.stroke(this.edges);
  }

  #surface(name, { width, height }, colorAt) {
    if (this.surfaces[name]) return this.surfaces[name];
    const surface = new OffscreenCanvas(width, height), pixels = new ImageData(width, height);
    for (let i = 0; i < width * height; i++) pixels.data.set(colorAt.call(this, i), 4 * i);
    surface.getContext("2d").putImageData(pixels, 0, 0);
    return (this.surfaces[name] = surface);
  }

  #suggested(i) {
    const color = this.colors[this.suggestion.ids[i]];
    return color ? [...color, 255] : [0, 0, 0, 0];
  }

  #masked(i) {
    const id = this.mask.ids[i], origin = this.mask.origin[i];
    if (id !== NOBODY) return [...(this.colors[id] ?? [255, 0, 255]), origin === ACCEPTED ? 190 : 255];
    if (origin !== DRAWN) return [0, 0, 0, 0];
    return (i + Math.floor(i / this.mask.width)) % 2 ? [255, 255, 255, 255] : [90, 90, 90, 255];
  }

  #doubted(i) {
    this.most ??= this.suggestion.doubt.reduce((most, doubt) => Math.max(most, doubt), 32);
    const share = Math.sqrt(this.suggestion.doubt[i] / this.most); // most doubt is low; the root tells it apart
    return [30 + 225 * share, 20 + 210 * share, 70 * (1 - share), 90 + 165 * share];
  }

  #marks() {
    const { context, cursor, corners } = this, line = 1.5 / this.scale;
    const outline = () => {
      for (const [color, width] of [["#000", 2 * line], ["#fff", line]]) {
        context.strokeStyle = color;
        context.lineWidth = width;
        context.stroke();
      }
    };
    if (corners.length) {
      context.beginPath();
      for (const { x, y } of corners) context.lineTo(x, y);
      if (cursor) context.lineTo(cursor.x, cursor.y);
      outline();
    }
    if (!cursor) return;
    context.beginPath();
    if (cursor.size) context.arc(cursor.x, cursor.y, cursor.size / 2, 0, 7);
    else {
      const arm = 6 / this.scale;
      context.moveTo(cursor.x - arm, cursor.y);
      context.lineTo(cursor.x + arm, cursor.y);
      context.moveTo(cursor.x, cursor.y - arm);
      context.lineTo(cursor.x, cursor.y + arm);
    }
    outline();
  }
}
