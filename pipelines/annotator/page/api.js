// What the server is asked for. Every address is below that of the page, which holds the token.

const base = new URL(".", location.href);
export const tab = crypto.randomUUID();

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(new URL(path, base), options);
  if (!answer.ok) {
    const text = await answer.text();
    let sentence = text;
    try {
      const { detail } = JSON.parse(text);
      sentence = Array.isArray(detail) ? detail.map((mistake) => mistake.msg).join("; ") : String(detail);
    } catch { /* it is plain text */ }
    throw new Refused(answer.status, sentence);
  }
  return answer;
}

const json = async (path, options) => (await ask(path, options)).json();
const put = (path, value) =>
  json(path, { method: "PUT", body: JSON.stringify(value), headers: { "content-type": "application/json" } });

export const imageAddress = (name) => new URL(`api/images/${encodeURIComponent(name)}`, base).href;
export const getState = () => json("api/state");
export const getClasses = () => json("api/classes");
export const putClasses = (classes) => put("api/classes", classes);
export const setDone = (name, done) =>
  json(`api/done/${encodeURIComponent(name)}?done=${done}`, { method: "PUT" });
export const addImage = (file) =>
  json(`api/images/${encodeURIComponent(file.name)}`, { method: "POST", body: file });

export async function getImage(name) {
  return createImageBitmap(await (await ask(`api/images/${encodeURIComponent(name)}`)).blob());
}

export async function getMask(name) {
  const answer = await ask(`api/masks/${encodeURIComponent(name)}`);
  const [width, height] = answer.headers.get("x-size").split("x").map(Number);
  const both = new Uint8Array(await answer.arrayBuffer());
  return {
    width, height, ids: both.slice(0, width * height), origin: both.slice(width * height),
    revision: answer.headers.get("x-revision"), state: answer.headers.get("x-state"),
  };
}

export function putMask(name, mask) {
  const body = new Uint8Array(2 * mask.ids.length);
  body.set(mask.ids);
  body.set(mask.origin, mask.ids.length);
  const headers = { "if-match": mask.revision, "x-tab": tab, "content-type": "application/octet-stream" };
  return json(`api/masks/${encodeURIComponent(name)}`, { method: "PUT", body, headers });
}

// Everything that the interpreter finds; comes back by itself after the server was away.
export function listen(hear, state) {
  const address = new URL("live", base);
  address.protocol = "ws:";
  let socket, wanted = null;
  const connect = () => {
    socket = new WebSocket(address);
    socket.onopen = () => {
      state(true);
      if (wanted) socket.send(JSON.stringify({ open: wanted }));
    };
    socket.onmessage = (event) => hear(JSON.parse(event.data));
    socket.onclose = () => {
      state(false);
      setTimeout(connect, 1000);
    };
  };
  connect();
  return (name) => {
    wanted = name;
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ open: name }));
  };
}
