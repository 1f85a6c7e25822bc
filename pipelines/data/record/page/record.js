// The recorder: which step comes after which, and what the keys do.

import * as server from "./api.js";
import { Levels } from "./levels.js";
import { Microphone, explain, microphones } from "./microphone.js";
import * as view from "./view.js";
import { encodeWav } from "./wav.js";

const { element } = view;
const player = element("player");

let state; // the server's
let mode; // off, ready, recording, sending, unsent, review, done
let microphone = null;
let levels;
let unsent = null; // a take that did not reach the server: {wav, text}

const READY = "Press Space, wait a moment, read the sentence, wait a moment, press Space.";

function enter(next, words) {
  mode = next;
  view.showMode(mode);
  view.say(words);
}

/** Show the server's state; a take under review comes first, then what the microphone allows. */
function show(next, words = "") {
  state = next;
  view.showState(state, { onListen: (clip) => play(server.clipUrl(clip)), onRedo: redo });
  if (state.review) review();
  else if (!state.sentence) enter("done", words);
  else if (microphone) enter("ready", words || READY);
  else enter("off", words || "The microphone is off.");
}

function review() {
  enter("review", view.summary(state.review));
  view.showWaveform(server.takeUrl()).catch(() => {}); // a picture only: Listen says it if the audio is gone
}

/** Run a step; what goes wrong is shown, and the page stays where it was. */
async function attempt(step) {
  view.complain(null);
  try {
    await step();
  } catch (error) {
    view.complain(error.message);
  }
}

async function turnOn(deviceId = localStorage.getItem("microphone")) {
  await microphone?.close();
  microphone = null;
  try {
    microphone = await Microphone.open({ deviceId, onBlock, onLost });
  } catch (error) {
    if (deviceId && error.name === "OverconstrainedError") localStorage.removeItem("microphone");
    show(state);
    view.complain(explain(error));
    return;
  }
  if (microphone.filters.length) {
    view.complain(`The browser filters this microphone (${microphone.filters.join(", ")}). Use another browser, or turn the filters off.`);
  }
  view.showMicrophones(await microphones(), deviceId);
  show(state);
}

function onBlock({ peak, rms, taken }) {
  levels.show({ peak, rms });
  if (mode !== "recording") return;
  view.say(taken ? `Recording ${taken.toFixed(1)} s` : "Get ready");
  if (taken >= state.marks.max_take_seconds - 1) stop();
}

function onLost() {
  microphone.close();
  microphone = null;
  show(state);
  view.complain("The microphone is gone. Plug it in again, or choose another one, then turn it on.");
}

function record() {
  view.complain(null);
  player.pause();
  unsent = null;
  levels.reset();
  microphone.start();
  enter("recording", "Get ready");
}

async function stop() {
  enter("sending", "Checking");
  const pieces = await microphone.stop();
  if (!pieces.length) return show(state, "Nothing was recorded yet. Wait for the seconds to count, then read.");
  return send({ wav: encodeWav(pieces, microphone.rate), text: state.sentence.text });
}

async function cancel() {
  enter("sending", "");
  await microphone.stop();
  show(state, "Cancelled: nothing was saved.");
}

async function send(take) {
  unsent = take;
  enter("sending", "Checking");
  await attempt(async () => {
    const next = await server.sendTake(take.wav, take.text);
    unsent = null;
    show(next);
  });
  if (unsent) enter("unsent", "The take is in this page only: do not close it.");
}

function again() {
  if (microphone) record();
  else attempt(async () => (await turnOn(), microphone && record()));
}

async function keep() {
  const { id } = state.review;
  await attempt(async () => show(await server.step("keep"), `Kept as ${id}.`));
}

const skip = () => attempt(async () => show(await server.step("skip")));
const undo = () => attempt(async () => show(await server.step("undo")));

async function redo(clip) {
  await attempt(async () => show(await server.redo(clip)));
  scrollTo({ top: 0 });
}

const listen = () => (player.paused ? play(server.takeUrl()) : player.pause());

function play(url) {
  player.src = url;
  player.play().catch(() => {}); // paused again, or the player's own error event says it
}

// What each button does, and in which mode a key does the same.
const BUTTONS = {
  "turn-on": () => turnOn(), record, stop, cancel, keep, listen, again, skip, undo,
  resend: () => send(unsent),
};
const KEYS = {
  " ": { off: "turn-on", ready: "record", recording: "stop", review: "listen" },
  Enter: { review: "keep", unsent: "resend" },
  Escape: { recording: "cancel" },
  l: { review: "listen" },
  r: { review: "again", unsent: "again" },
  s: { off: "skip", ready: "skip", review: "skip" },
  u: { off: "undo", ready: "undo", done: "undo" },
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || element("studio").hidden) return;
  if (!element("shortcuts").checked || belongsTo(event.target, event.key)) return;
  const button = element(KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key]?.[mode]);
  if (!button || button.disabled) return;
  event.preventDefault();
  BUTTONS[button.id]();
}

/** Whether a key means something to the control that has the focus. */
function belongsTo(control, key) {
  if (control.closest("input:not([type=checkbox]), select")) return true;
  return Boolean(control.closest("button, summary, input")) && [" ", "Enter"].includes(key);
}

function onClick(event) {
  if (event.detail > 0) event.currentTarget.blur(); // by mouse: or Space would press the same button again
  BUTTONS[event.currentTarget.id]();
}

function onLeave(event) {
  if (mode === "recording" || unsent) event.preventDefault(); // the browser asks whether to leave
}

async function consent(event) {
  event.preventDefault();
  await attempt(async () => {
    show(await server.agree(element("name").value));
    element("sentence").focus();
    await turnOn();
  });
}

function connect() {
  for (const id of Object.keys(BUTTONS)) element(id).addEventListener("click", onClick);
  element("consent").addEventListener("submit", consent);
  element("microphone").addEventListener("change", ({ target }) => {
    localStorage.setItem("microphone", target.value);
    if (mode !== "recording") turnOn(target.value);
  });
  element("shortcuts").checked = localStorage.getItem("shortcuts") !== "off";
  element("shortcuts").addEventListener("change", showShortcuts);
  player.addEventListener("error", () => view.complain("This browser cannot play that recording."));
  addEventListener("keydown", onKey);
  addEventListener("beforeunload", onLeave);
  showShortcuts();
}

function showShortcuts() {
  const keys = element("shortcuts").checked ? "on" : "off";
  localStorage.setItem("shortcuts", keys);
  document.body.dataset.keys = keys;
}

await attempt(async () => {
  const first = await server.readState();
  levels = new Levels(element("levels"), first.marks);
  view.showVoice(first);
  view.showMicrophones([], null);
  connect();
  show(first);
});
