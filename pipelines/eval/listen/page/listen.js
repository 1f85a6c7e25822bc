// One pair at a time. The page never learns which system stands on which side.
const $ = id => document.getElementById(id);
const sound = new Audio();
let state = null, heard = new Set(), takes = {};

const ask = async (path, body) => {
  const options = path === "state" ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body ?? {}) };
  try {
    const answer = await fetch(`/api/${path}`, options);
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error?.message ?? answer.statusText);
    $("problem").textContent = "";
    show(content);
  } catch (error) {
    $("problem").textContent = error instanceof TypeError ? "The page has lost its program. Start `make listen` again, then reload." : error.message;
  }
};

// Whole, not by address: Safari asks for media in ranges, and everything is here before it is asked for.
const fetchTake = async (trial, side) => {
  const answer = await fetch(`/api/audio/${trial}/${side}`);
  if (!answer.ok) throw new Error((await answer.json()).error?.message ?? answer.statusText);
  return URL.createObjectURL(await answer.blob());
};

const show = next => {
  state = next;
  for (const take of Object.values(takes)) take.then(URL.revokeObjectURL, () => {});
  takes = {};
  if (state.text !== null) for (const side of ["a", "b", "x"]) (takes[side] = fetchTake(state.trial, side)).catch(() => {});
  heard = new Set();
  sound.pause();
  const over = state.text === null;
  $("test").hidden = over;
  $("end").hidden = !over;
  $("text").textContent = state.text ?? "";
  $("progress").max = Math.max(1, state.total);
  $("progress").value = state.done;
  $("count").textContent = `${state.done} of ${state.total} pairs`;
  $("back").disabled = $("again").disabled = state.trial === 0;
  for (const button of document.querySelectorAll(".sides button")) button.className = "";
  allow();
};

const allow = () => {
  for (const choice of ["a", "b", "neither"]) $(`choose-${choice}`).disabled = !(heard.has("a") && heard.has("b"));
};

const play = async side => {
  for (const button of document.querySelectorAll(".sides button")) button.classList.toggle("playing", button.dataset.side === side);
  try {
    sound.src = await takes[side];
    await sound.play();
  } catch (error) {
    if (error.name !== "AbortError") $("problem").textContent = `This browser does not play: ${error.message}`; // another was chosen
    return;
  }
  heard.add(side);
  $(`play-${side}`).classList.add("heard");
  allow();
};

const choose = choice => {
  if (!$(`choose-${choice}`).disabled) ask("vote", { trial: state.trial, choice });
};

sound.addEventListener("ended", () => document.querySelector(".playing")?.classList.remove("playing"));
for (const button of document.querySelectorAll(".sides button")) button.addEventListener("click", () => play(button.dataset.side));
for (const choice of ["a", "b", "neither"]) $(`choose-${choice}`).addEventListener("click", () => choose(choice));
for (const id of ["back", "again"]) $(id).addEventListener("click", () => ask("back"));

const keys = {
  a: () => play("a"), b: () => play("b"), x: () => play("x"),
  1: () => choose("a"), 2: () => choose("b"), 0: () => choose("neither"),
  Backspace: () => ask("back"),
};
document.addEventListener("keydown", event => {
  if (!state || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act && (state.text !== null || event.key === "Backspace")) { event.preventDefault(); act(); }
});
ask("state");
