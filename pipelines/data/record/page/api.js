// The recorder's server. Every step answers with the new state, or fails with a message to show.

const UNREACHABLE = "The recorder does not answer. Start it again with `make record` in its terminal; then try again.";

async function call(path, options) {
  let response;
  try {
    response = await fetch(`api/${path}`, options);
  } catch {
    throw new Error(UNREACHABLE);
  }
  const body = await response.json();
  if (!response.ok) throw new Error(sentence(body.error.message));
  return body;
}

const sentence = (message) => message[0].toUpperCase() + message.slice(1);

export const readState = () => call("state");
export const step = (name) => call(name, { method: "POST" });
export const agree = (name) =>
  call("consent", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name, agreed: true }),
  });
export const sendTake = (wav, text) =>
  call(`take?sentence=${encodeURIComponent(text)}`, {
    method: "POST",
    headers: { "Content-Type": "audio/wav" },
    body: wav,
  });
export const redo = (clip) => step(`clips/${encodeURIComponent(clip)}/redo`);

let version = 0; // a new take has the old address
export const takeUrl = () => `api/take.wav?${++version}`;
export const clipUrl = (clip) => `api/clips/${encodeURIComponent(clip)}?${++version}`;
