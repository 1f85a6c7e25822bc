import { ask, CONSENT, Refused, speak, useKey } from "/page/api.js";
import { Player } from "/page/player.js";

const FORMATS = { wav: "wav, while it is made", pcm: "pcm, while it is made", mp3: "mp3", opus: "opus", aac: "aac", flac: "flac" };
const LANGUAGES = ["auto", "en", "zh", "ja", "ko", "de", "fr", "ru", "pt", "es", "it"];
const WAV_HEADER = 44; // bytes
const RATE = 24000; // Hz

const $ = (id) => document.getElementById(id);
let voices = [];
let running = null; // { abort, player } of the utterance on its way
let saved = null; // address of the last one

for (const [value, label] of Object.entries(FORMATS)) $("format").append(new Option(label, value));
for (const code of LANGUAGES) $("language").append(new Option(code, code));
$("statement").textContent = CONSENT;

function complain(error) {
  if (error?.name === "AbortError") return;
  if (error instanceof Refused && error.status === 401) $("key-form").hidden = false;
  $("problem").textContent = error ? error.message : "";
  $("problem").hidden = !error;
}

async function refresh(chosen = $("voice").value) {
  const { data } = await (await ask("/v1/models")).json();
  ({ voices } = await (await ask("/v1/audio/voices")).json());
  $("state").textContent = `${data[0].id}, ${data[0].kind}, ${data[0].pack}`;
  $("voice").replaceChildren(...voices.map((v) => new Option(`${v.name} (${v.kind})`, v.voice_id)));
  if (voices.some((v) => v.voice_id === chosen)) $("voice").value = chosen;
  choose();
}

function choose() {
  const voice = voices.find((v) => v.voice_id === $("voice").value);
  $("instructions-label").hidden = !voice?.takes_instructions;
  $("forget").hidden = voice?.kind !== "uploaded";
}

function wanted() {
  const fields = { input: $("text").value, voice: $("voice").value, response_format: $("format").value };
  fields.speed = Number($("speed").value);
  if ($("language").value) fields.language = $("language").value;
  if (!$("instructions-label").hidden && $("instructions").value) fields.instructions = $("instructions").value;
  return fields;
}

const ms = (seconds) => `${Math.round(1000 * seconds)} ms`;

async function say() {
  halt();
  complain(null);
  for (const id of ["first-byte", "first-sound", "made-in", "length"]) $(id).textContent = "–";
  $("player").hidden = $("save").hidden = true;
  const fields = wanted();
  const streams = ["wav", "pcm"].includes(fields.response_format);
  const player = streams ? new Player(RATE) : null;
  const abort = new AbortController();
  running = { abort, player };
  $("stop").disabled = false;
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  const answer = await speak(fields, abort.signal);
  const parts = [];
  let skip = fields.response_format === "wav" ? WAV_HEADER : 0;
  const reader = answer.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (!parts.length) {
      running.first = since();
      $("first-byte").textContent = ms(running.first);
    }
    parts.push(value);
    if (player) {
      const cut = Math.min(skip, value.length);
      skip -= cut;
      player.push(value.subarray(cut));
      if (player.heard && $("first-sound").textContent === "–") {
        $("first-sound").textContent = ms(Math.max(since(), running.first + player.silence / RATE));
      }
    }
  }
  $("made-in").textContent = `${since().toFixed(2)} s`;
  if (player) $("length").textContent = `${(player.samples / RATE).toFixed(2)} s`;
  keep(new Blob(parts, { type: answer.headers.get("content-type") }), fields.response_format, !player);
}

function keep(blob, format, plays) {
  if (saved) URL.revokeObjectURL(saved);
  saved = URL.createObjectURL(blob);
  $("save").href = saved;
  $("save").download = `speech.${format}`;
  $("save").hidden = false;
  if (!plays) return;
  $("player").hidden = false;
  $("player").onloadedmetadata = () => {
    if (Number.isFinite($("player").duration)) $("length").textContent = `${$("player").duration.toFixed(2)} s`;
  };
  $("player").src = saved;
  $("player").play().catch(() => {});
}

function halt() {
  running?.abort.abort();
  running?.player?.stop();
  running = null;
  $("stop").disabled = true;
}

function askForWords() {
  const labels = [...$("files").files].map((file) => {
    const label = document.createElement("label");
    const words = Object.assign(document.createElement("textarea"), { rows: 3, maxLength: 2000, required: true });
    label.append(`What is said in ${file.name}`, words);
    return label;
  });
  const typed = new Map([...$("words").children].map((label) => [label.firstChild.data, label.lastChild.value]));
  for (const label of labels) label.lastChild.value = typed.get(label.firstChild.data) ?? "";
  $("words").replaceChildren(...labels);
}

async function make() {
  complain(null);
  $("made").textContent = "Listening to it…";
  const body = new FormData();
  for (const file of $("files").files) body.append("audio_sample", file);
  for (const words of $("words").querySelectorAll("textarea")) body.append("ref_text", words.value);
  body.set("name", $("name").value);
  body.set("consent", $("consent").checked ? CONSENT : "");
  try {
    const made = await (await ask("/v1/audio/voices", { method: "POST", body })).json();
    $("made").textContent = [`${made.name} can speak now.`, ...made.warnings].join(" ");
    await refresh(made.voice_id);
  } catch (error) {
    $("made").textContent = "";
    throw error;
  }
}

async function forget() {
  await ask(`/v1/audio/voices/${encodeURIComponent($("voice").value)}`, { method: "DELETE" });
  await refresh("");
}

function on(id, kind, act) {
  $(id).addEventListener(kind, (event) => {
    event.preventDefault();
    Promise.resolve(act()).catch(complain);
  });
}

on("speak", "submit", say);
on("stop", "click", halt);
on("upload", "submit", make);
on("forget", "click", forget);
on("key-form", "submit", async () => {
  useKey($("key").value);
  $("key-form").hidden = true;
  complain(null);
  await refresh();
});
$("voice").addEventListener("change", choose);
$("files").addEventListener("change", askForWords);
askForWords(); // a browser may have kept the files
$("speed").addEventListener("input", () => ($("speed-shown").textContent = Number($("speed").value).toFixed(2)));
refresh().catch(complain);
