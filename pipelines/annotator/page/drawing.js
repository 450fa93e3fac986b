// From pointer, wheel and arrow keys to steps of the mask.

import { alongStroke, DRAWN, insidePolygon, NOBODY, region, UNTOUCHED } from "./mask.js";
import { accept } from "./suggestion.js";

export class Drawing {
  // `finished` is called after each step that changed something.
  constructor(view, { finished, tell, sizeChanged }) {
    Object.assign(this, { view, finished, tell, sizeChanged });
    this.tool = "brush";
    this.size = 4;
    this.id = 0; // of the class that is drawn
    this.last = null; // of a stroke that is being drawn
    this.pointers = new Map();
    this.listen(view.canvas);
  }

  listen(canvas) {
    canvas.addEventListener("pointerdown", (event) => this.#pressed(event));
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#released(event));
    canvas.addEventListener("pointerleave", () => this.#point(null));
    canvas.addEventListener("dblclick", () => this.close());
    canvas.addEventListener("wheel", (event) => this.#wheeled(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  resize(size) {
    this.size = Math.max(1, Math.min(64, Math.round(size)));
    this.sizeChanged(this.size);
    if (this.view.cursor) this.#point(this.view.cursor);
  }

  choose(tool) {
    this.cancel();
    this.tool = tool;
    if (this.view.cursor) this.#point(this.view.cursor);
  }

  // The tool is put on the image, drawn along it, and lifted; by pointer and keyboard alike.
  down(point) {
    const { mask } = this.view;
    if (!mask) return;
    if (this.tool === "polygon") this.#corner(point);
    else if (this.tool === "fill") this.#fill(point);
    else if (this.tool === "pick") this.#pick(point);
    else if (this.tool !== "hand") {
      this.last = point;
      this.#stroke(point);
    }
  }

  along(point) {
    if (this.last) this.#stroke(point);
  }

  up() {
    if (!this.last) return;
    this.last = null;
    this.#commit();
  }

  // Fill the polygon that is being drawn. Whether there was one.
  close() {
    const { corners, mask } = this.view;
    if (corners.length < 3) return false;
    for (const index of insidePolygon(mask, corners)) this.#put(index);
    this.view.corners = [];
    this.#commit();
    return true;
  }

  cancel() {
    this.view.corners = [];
    this.view.mask?.cancel();
    this.last = null;
    this.view.changed("mask");
  }

  // Arrow keys move a cursor; a tool that is down draws along.
  nudge(dx, dy) {
    const { mask } = this.view;
    if (!mask) return;
    const from = this.view.cursor ?? { x: Math.floor(mask.width / 2) + 0.5, y: Math.floor(mask.height / 2) + 0.5 };
    const inside = (value, most) => Math.max(0.5, Math.min(most - 0.5, value));
    const point = { x: inside(from.x + dx, mask.width), y: inside(from.y + dy, mask.height) };
    this.#point(point);
    this.along(point);
    this.tell(`Row ${Math.floor(point.y)}, column ${Math.floor(point.x)}`);
  }

  #point(point) {
    const sized = this.tool === "brush" || this.tool === "erase";
    this.view.cursor = point && { x: point.x, y: point.y, size: sized ? this.size : 0 };
    this.view.redraw();
  }

  #put(index) {
    if (this.tool === "erase") this.view.mask.set(index, NOBODY, UNTOUCHED);
    else this.view.mask.set(index, this.id, DRAWN);
  }

  #stroke(point) {
    for (const index of alongStroke(this.view.mask, this.last, point, this.size)) this.#put(index);
    this.last = point;
    this.view.changed("mask");
  }

  #corner(point) {
    const [first] = this.view.corners;
    const near = first && Math.hypot(first.x - point.x, first.y - point.y) * this.view.scale < 8;
    if (near && this.close()) return;
    this.view.corners.push(point);
    this.view.redraw();
  }

  #index({ x, y }) {
    const { mask } = this.view, column = Math.floor(x), row = Math.floor(y);
    const inside = column >= 0 && row >= 0 && column < mask.width && row < mask.height;
    return inside ? row * mask.width + column : -1;
  }

  #fill(point) {
    const { mask } = this.view, start = this.#index(point);
    if (start < 0) return;
    const ids = mask.ids.slice(), origin = mask.origin.slice();
    for (const index of region(mask, (i) => 256 * origin[i] + ids[i], start)) this.#put(index);
    this.#commit();
  }

  #pick(point) {
    const { mask, suggestion } = this.view, start = this.#index(point);
    if (start < 0) return;
    if (!suggestion) {
      this.tell("There is no suggestion yet; draw two classes first");
      return;
    }
    const found = region(mask, (i) => suggestion.ids[suggestion.place(mask, i)], start);
    if (accept(mask, suggestion, found)) this.#changed();
  }

  #commit() {
    if (this.view.mask.commit()) this.#changed();
    else this.view.redraw();
  }

  #changed() {
    this.view.changed("mask");
    this.finished();
  }

  #pressed(event) {
    this.view.canvas.focus();
    this.view.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) this.cancel(); // two fingers move and enlarge
    else if (this.pointers.size === 1 && event.button === 0) this.down(this.view.at(event));
  }

  #moved(event) {
    const before = this.pointers.get(event.pointerId), point = this.view.at(event);
    this.#point(point);
    if (!before) return;
    this.pointers.set(event.pointerId, event);
    const moves = this.tool === "hand" || event.buttons & 4;
    if (this.pointers.size === 2) this.#pinched(event, before);
    else if (moves) this.view.move(event.clientX - before.clientX, event.clientY - before.clientY);
    else this.#drawn(event);
  }

  // All places that the pointer was at since the last event, so that a fast stroke stays round.
  #drawn(event) {
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) this.along(this.view.at(each));
  }

  #pinched(event, before) {
    const [other] = [...this.pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    const far = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY) || 1;
    const box = this.view.canvas.getBoundingClientRect();
    this.view.move((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    this.view.zoom(far(event) / far(before), other.clientX - box.left, other.clientY - box.top);
  }

  #released(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.up();
  }

  #wheeled(event) {
    event.preventDefault();
    const turned = event.deltaY || event.deltaX; // with Shift, some systems turn sideways
    if (event.shiftKey) {
      this.resize(this.size + (turned < 0 ? 1 : -1));
      return;
    }
    const box = this.view.canvas.getBoundingClientRect();
    this.view.zoom(Math.exp(-turned / 400), event.clientX - box.left, event.clientY - box.top);
  }
}
