// What keys, buttons and sliders do.

import { NOBODY } from "./mask.js";

const byId = (id) => document.getElementById(id);

export function table(page) {
  const { drawing, view, classes } = page;
  connect(page);
  return [
    { keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9"], says: "draw the class of this number", does: (e) => classes.choose(Number(e.key) - 1) },
    { keys: ["0"], says: "draw “nobody knows”", does: () => classes.choose(NOBODY) },
    { keys: [",", "."], says: "the class before or after", does: (e) => classes.step(e.key === "," ? -1 : 1) },
    { keys: ["b"], says: "brush", does: () => page.choose("brush") },
    { keys: ["p"], says: "polygon", does: () => page.choose("polygon") },
    { keys: ["g"], says: "fill", does: () => page.choose("fill") },
    { keys: ["e"], says: "eraser", does: () => page.choose("erase") },
    { keys: ["r"], says: "accept a region by a click", does: () => page.choose("pick") },
    { keys: ["h"], says: "move the image", does: () => page.choose("hand") },
    { keys: ["[", "]"], says: "smaller or larger brush; also Shift and the wheel", does: (e) => drawing.resize(drawing.size + (e.key === "[" ? -1 : 1)) },
    { keys: ["z", "Ctrl+z"], says: "undo", does: () => page.undo() },
    { keys: ["y", "Ctrl+y", "Ctrl+Shift+z"], says: "redo", does: () => page.redo() },
    { keys: ["+", "="], says: "enlarge; also the wheel, at the pointer", does: () => view.zoom(1.25) },
    { keys: ["-"], says: "make smaller", does: () => view.zoom(0.8) },
    { keys: ["f"], says: "show the whole image", does: () => view.fit() },
    { keys: ["a"], says: "accept the whole suggestion", does: () => page.accept("all") },
    { keys: ["c"], says: "accept the class that is drawn", does: () => page.accept("class") },
    { keys: ["s"], says: "accept what is surer than the slider says", does: () => page.accept("sure") },
    { keys: ["n"], says: "the image that the interpreter knows least", does: () => page.next() },
    { keys: ["PageUp"], says: "the image before", does: () => page.step(-1) },
    { keys: ["PageDown"], says: "the image after", does: () => page.step(1) },
    { keys: ["d"], says: "done: I have looked at all of it", does: () => page.done() },
    { keys: ["Enter"], says: "close the polygon", does: () => drawing.close() },
    { keys: ["Escape"], says: "leave the polygon or the stroke; close the sheet", does: () => { drawing.cancel(); page.showSheet(false); } },
    { keys: ["t"], says: "sheet of all images", does: () => page.showSheet() },
    { keys: ["i"], says: "image on or off", does: () => page.layer("image") },
    { keys: ["m"], says: "mask on or off", does: () => page.layer("mask") },
    { keys: ["j"], says: "suggestion on or off", does: () => page.layer("suggestion") },
    { keys: ["u"], says: "uncertainty on or off", does: () => page.layer("doubt") },
    { keys: ["o", "Shift+o"], says: "more or less opaque", does: (e) => page.opacity(e.shiftKey ? -10 : 10) },
    { keys: ["l"], says: "light or dark", does: () => page.theme() },
    { keys: ["?"], says: "these keys", does: () => byId("help").showModal() },
    { keys: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"], says: "move the cursor; with Shift by 8", canvas: true, does: (e) => nudge(drawing, e) },
    { keys: [" "], says: "use the tool at the cursor; held, it draws along", canvas: true, does: (e) => press(drawing, view, e) },
  ];
}

function nudge(drawing, { key, shiftKey }) {
  const far = shiftKey ? 8 : 1, ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  drawing.nudge(...ways[key].map((way) => far * way));
}

function press(drawing, view, event) {
  if (event.repeat) return;
  if (!view.cursor) drawing.nudge(0, 0);
  if (view.cursor) drawing.down(view.cursor);
}

function connect(page) {
  const { drawing, view } = page;
  const clicks = {
    previous: () => page.step(-1), following: () => page.step(1), next: () => page.next(), done: () => page.done(),
    "open-sheet": () => page.showSheet(), undo: () => page.undo(), redo: () => page.redo(), theme: () => page.theme(),
    "open-help": () => byId("help").showModal(), fit: () => view.fit(), add: () => byId("files").click(),
    "accept-all": () => page.accept("all"), "accept-class": () => page.accept("class"),
    "accept-sure": () => page.accept("sure"),
  };
  for (const [id, does] of Object.entries(clicks)) byId(id).onclick = does;
  for (const button of document.querySelectorAll("[data-tool]")) button.onclick = () => page.choose(button.dataset.tool);
  for (const box of document.querySelectorAll("[data-layer]")) box.onchange = () => page.layer(box.dataset.layer);
  byId("size").oninput = (event) => drawing.resize(Number(event.target.value));
  byId("sure").oninput = () => { byId("sure-shown").textContent = byId("sure").value; };
  byId("opacity").oninput = () => { view.opacity = byId("opacity").value / 100; view.redraw(); };
  byId("files").onchange = (event) => page.add(event.target.files);
  addEventListener("keyup", (event) => { if (event.key === " ") drawing.up(); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); page.add(event.dataTransfer.files); });
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = localStorage.theme ?? (dark ? "dark" : "light");
}
