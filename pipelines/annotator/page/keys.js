// Every key in one table: what listens and what `?` lists are the same.

const NAMES = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };

// `table` holds { keys, says, does, canvas }: a row with `canvas` counts while the image has the focus.
export function listenToKeys(table, canvas) {
  addEventListener("keydown", (event) => {
    const field = event.target.closest?.("input:not([type=checkbox]):not([type=range]), dialog[open]");
    if (field || event.altKey) return;
    const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
    const name = control + (event.key.length === 1 ? event.key.toLowerCase() : event.key);
    const shifted = control + (event.shiftKey ? "Shift+" : "") + (event.key.length === 1 ? event.key.toLowerCase() : event.key);
    const inCanvas = event.target === canvas || event.target === document.body;
    const row = [shifted, name].map((n) => table.find((r) => r.keys.includes(n) && (!r.canvas || inCanvas))).find(Boolean);
    const pressesButton = (event.key === "Enter" || event.key === " ") && event.target.closest?.("button, input, summary");
    const movesSlider = event.key.startsWith("Arrow") && event.target.closest?.("input");
    if (!row || pressesButton || movesSlider) return;
    event.preventDefault();
    row.does(event);
  });
}

export function listKeys(table, list) {
  const shown = (key) => key.split("+").map((part) => NAMES[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join("+");
  list.replaceChildren(...table.flatMap(({ keys, says }) => {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = keys.map(shown).join(" ");
    text.textContent = says;
    return [term, text];
  }));
}
