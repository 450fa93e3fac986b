// A mask as it is drawn: class ids, where each pixel comes from, and all steps back.

export const NOBODY = 255; // the id of a pixel without a class
export const UNTOUCHED = 0, DRAWN = 1, ACCEPTED = 2;

export class Mask {
  constructor({ width, height, ids, origin, revision }) {
    Object.assign(this, { width, height, ids, origin, revision });
    this.past = [];
    this.future = [];
    this.step = new Map(); // index -> what was there, of the step that is being made
  }

  set(index, id, origin) {
    if (this.ids[index] === id && this.origin[index] === origin) return;
    if (!this.step.has(index)) this.step.set(index, [this.ids[index], this.origin[index]]);
    this.ids[index] = id;
    this.origin[index] = origin;
  }

  // End of a step. Whether it changed anything.
  commit() {
    const changes = [...this.step]
      .map(([index, before]) => ({ index, before, after: [this.ids[index], this.origin[index]] }))
      .filter(({ before, after }) => before[0] !== after[0] || before[1] !== after[1]);
    this.step.clear();
    if (!changes.length) return false;
    this.past.push(changes);
    this.future = [];
    return true;
  }

  // Take back what was drawn since the last step.
  cancel() {
    for (const [index, [id, origin]] of this.step) {
      this.ids[index] = id;
      this.origin[index] = origin;
    }
    this.step.clear();
  }

  undo() {
    return this.#move(this.past, this.future, "before");
  }

  redo() {
    return this.#move(this.future, this.past, "after");
  }

  #move(from, to, side) {
    const changes = from.pop();
    if (!changes) return false;
    for (const change of changes) [this.ids[change.index], this.origin[change.index]] = change[side];
    to.push(changes);
    return true;
  }
}

// Pixels whose centre is within radius of the way from a to b, in image coordinates; always the pixel of b.
export function* alongStroke(mask, a, b, size) {
  const radius = size / 2, { width, height } = mask;
  const [left, right] = [Math.min(a.x, b.x) - radius, Math.max(a.x, b.x) + radius];
  const [top, bottom] = [Math.min(a.y, b.y) - radius, Math.max(a.y, b.y) + radius];
  const dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  for (let y = Math.max(0, Math.floor(top)); y <= Math.min(height - 1, bottom); y++) {
    for (let x = Math.max(0, Math.floor(left)); x <= Math.min(width - 1, right); x++) {
      const px = x + 0.5 - a.x, py = y + 0.5 - a.y;
      const t = length ? Math.max(0, Math.min(1, (px * dx + py * dy) / length)) : 0;
      if ((px - t * dx) ** 2 + (py - t * dy) ** 2 <= radius * radius) yield y * width + x;
    }
  }
  const x = Math.floor(b.x), y = Math.floor(b.y);
  if (x >= 0 && y >= 0 && x < width && y < height) yield y * width + x;
}

// Pixels whose centre lies inside the corners, by the even-odd rule.
export function* insidePolygon({ width, height }, corners) {
  const ys = corners.map((c) => c.y);
  for (let y = Math.max(0, Math.floor(Math.min(...ys))); y < Math.min(height, Math.max(...ys)); y++) {
    const crossings = [];
    corners.forEach((a, i) => {
      const b = corners[(i + 1) % corners.length];
      if (a.y <= y + 0.5 !== b.y <= y + 0.5) crossings.push(a.x + ((y + 0.5 - a.y) / (b.y - a.y)) * (b.x - a.x));
    });
    crossings.sort((one, other) => one - other);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const last = Math.min(width, crossings[i + 1]);
      for (let x = Math.max(0, Math.ceil(crossings[i] - 0.5)); x + 0.5 < last; x++) yield y * width + x;
    }
  }
}

// Pixels that are connected with a point by their sides and hold the same value there.
export function* region({ width, height }, valueAt, start) {
  const wanted = valueAt(start), seen = new Uint8Array(width * height), todo = [start];
  seen[start] = 1;
  while (todo.length) {
    const index = todo.pop(), x = index % width;
    yield index;
    const sides = [x > 0 ? index - 1 : -1, x < width - 1 ? index + 1 : -1, index - width, index + width];
    for (const side of sides) {
      if (side >= 0 && side < width * height && !seen[side] && valueAt(side) === wanted) {
        seen[side] = 1;
        todo.push(side);
      }
    }
  }
}
