// What the interpreter would label, at the model's size, looked at by the pixels of a mask.

import { ACCEPTED, DRAWN } from "./mask.js";

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export class Suggestion {
  constructor(message) {
    this.name = message.name;
    this.width = message.width;
    this.height = message.height;
    this.ids = bytes(message.mask);
    this.doubt = bytes(message.doubt); // 255: ln(classes), which is the most
  }

  place(mask, index) {
    const x = index % mask.width, y = Math.floor(index / mask.width);
    return Math.floor((y * this.height) / mask.height) * this.width + Math.floor((x * this.width) / mask.width);
  }
}

// Take over what is suggested and wanted; what a person drew stays.
export function accept(mask, suggestion, indices, wanted = () => true) {
  for (const index of indices) {
    const place = suggestion.place(mask, index);
    if (mask.origin[index] !== DRAWN && wanted(place)) mask.set(index, suggestion.ids[place], ACCEPTED);
  }
  return mask.commit();
}
