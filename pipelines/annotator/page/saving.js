// Each step is written at once; while one is on its way, the newest waits for it.

import { getMask, putMask, Refused } from "./api.js";

export class Saving {
  // `conflict(name, sentence)` is called where another tab was first, `state(text)` with how it stands.
  constructor({ conflict, state }) {
    Object.assign(this, { conflict, state });
    this.waiting = new Map(); // name -> mask, not written yet
    this.running = null;
    addEventListener("beforeunload", (event) => {
      if (this.waiting.size) event.preventDefault();
    });
  }

  save(name, mask) {
    this.waiting.set(name, mask);
    this.state("saving…");
    this.running ??= this.#run();
    return this.running;
  }

  // After a conflict: write what is here over what is there.
  async keep(name, mask) {
    mask.revision = (await getMask(name)).revision;
    return this.save(name, mask);
  }

  async #run() {
    while (this.waiting.size) {
      const [name, mask] = this.waiting.entries().next().value;
      this.waiting.delete(name);
      try {
        const saved = await putMask(name, mask);
        mask.revision = saved.revision;
        if (!this.waiting.size) this.state("saved");
      } catch (error) {
        if (error instanceof Refused) {
          this.state("not saved");
          this.conflict(name, error.message, error.status === 409);
        } else {
          if (!this.waiting.has(name)) this.waiting.set(name, mask);
          this.state("not saved: the server does not answer; tried again");
          await new Promise((resolve) => setTimeout(resolve, 1000));
        }
      }
    }
    this.running = null;
  }
}
