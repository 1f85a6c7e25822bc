// The page as the state says.

import { draw } from "./waveform.js";

export const element = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Show the parts of the page that belong to a mode: off, ready, recording, sending, unsent, review, done. */
export function showMode(mode) {
  document.body.dataset.mode = mode;
  const parts = document.querySelectorAll("[class*='only-']");
  for (const part of parts) part.hidden = !part.classList.contains(`only-${mode}`);
}

/** What does not change while the page is open. */
export function showVoice(state) {
  document.title = `Record ${state.voice}`;
  element("voice").textContent = state.voice;
  element("folder").textContent = `data/raw/${state.voice}`;
  element("statement").textContent = state.statement;
  element("sentence").lang = state.language === "auto" ? "" : state.language;
  for (const place of document.querySelectorAll("[data-checklist]")) {
    place.replaceChildren(...Object.entries(state.checklist).map(checklist));
  }
}

function checklist([title, items]) {
  const ticks = items.map((item) => make("label", { className: "tick" }, make("input", { type: "checkbox" }), item));
  return make("section", {}, make("h3", { textContent: title }), ...ticks);
}

/** Everything that a step may have changed. */
export function showState(state, { onListen, onRedo }) {
  element("welcome").hidden = state.consent !== null;
  element("studio").hidden = state.consent === null;
  document.querySelector(".progress").hidden = state.consent === null;
  element("agreed-text").textContent = state.consent ?? "";
  showSentence(state);
  showReview(state.review);
  showProgress(state.progress);
  showClips(state.clips, { onListen, onRedo });
  element("undo").disabled = state.undo === null;
}

function showSentence({ sentence, progress }) {
  const text = sentence?.text ?? "All sentences are read.";
  if (element("sentence").textContent !== text) element("sentence").textContent = text;
  element("over").textContent = over(sentence, progress);
  element("skip").firstChild.textContent = sentence?.replaces ? "Leave it as it was " : "Skip ";
}

function over(sentence, progress) {
  if (!sentence) return "Done";
  if (sentence.replaces) return `Read again, in place of ${sentence.replaces}`;
  return `Read aloud · ${plural(progress.sentences_left, "sentence")} left`;
}

function showReview(review) {
  const findings = review?.findings ?? [];
  element("findings").replaceChildren(...findings.map(finding));
  element("keep").disabled = !review?.may_be_kept;
  document.body.dataset.good = review && !findings.length ? "yes" : "no";
}

function finding({ severity, message }) {
  const item = make("li", { textContent: message });
  item.dataset.severity = severity;
  return item;
}

/** What the take measures, in one line. */
export function summary({ measured, findings }) {
  const figures = [
    `${measured.speech_seconds.toFixed(1)} s of speech`,
    `peak ${measured.peak_dbfs.toFixed(0)} dBFS`,
    `${measured.snr_db.toFixed(0)} dB above the room`,
  ];
  return `${findings.length ? "" : "Sounds good: "}${figures.join(", ")}.`.replaceAll("-", "−");
}

function showProgress({ clips, minutes, tier, next }) {
  const better = tier === "below minimum" ? "" : `, ${tier}`;
  element("amount").textContent = `${plural(clips, "clip")}, ${minutes.toFixed(1)} min${better}`;
  element("needed").textContent = next ? needed(clips, minutes, next) : "";
  element("tier-progress").value = next ? Math.min(clips / next.clips, minutes / next.minutes) : 1;
}

function needed(clips, minutes, next) {
  const missing = [];
  if (clips < next.clips) missing.push(plural(next.clips - clips, "clip"));
  if (minutes < next.minutes) missing.push(`${(next.minutes - minutes).toFixed(1)} min`);
  return `· ${missing.join(" and ")} to “${next.name}”`;
}

function showClips(clips, { onListen, onRedo }) {
  element("count").textContent = clips.length;
  element("clips").replaceChildren(...clips.toReversed().map((clip) => row(clip, { onListen, onRedo })));
}

function row({ id, text, seconds }, { onListen, onRedo }) {
  const listen = make("button", { textContent: "Listen", ariaLabel: `Listen to ${id}`, onclick: () => onListen(id) });
  const redo = make("button", { textContent: "Redo", ariaLabel: `Read ${id} again`, onclick: () => onRedo(id) });
  return make("li", {}, make("span", { textContent: text }), make("small", { textContent: `${seconds.toFixed(1)} s` }), listen, redo);
}

export const showWaveform = (url) => draw(element("wave"), url);

/** Say what is going on, for eyes and screen readers. */
export function say(text) {
  if (element("status").textContent !== text) element("status").textContent = text;
}

/** Say what went wrong; nothing hides it. */
export function complain(message) {
  element("problem").textContent = message ?? "";
  element("problem").hidden = !message;
}

/** Offer the microphones, the open one chosen. */
export function showMicrophones(devices, chosen) {
  const options = devices.map(({ deviceId, label }, i) => new Option(label || `Microphone ${i + 1}`, deviceId));
  element("microphone").replaceChildren(new Option("the system's choice", ""), ...options);
  element("microphone").value = chosen ?? "";
}
