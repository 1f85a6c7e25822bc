// The level meter: peak and RMS in dB of full scale, the room's noise floor, and whether anything was clipped.

const LOWEST = -72; // dBFS, the left end
const CLIPPED = 0.999; // of full scale
const PEAK_FALL = 0.6; // dB a block, so that the eye can read a peak: 28 dB a second
const RMS_FALL = 1.2; // the same for the bar, so that it does not flicker between syllables
const ROOM_BLOCKS = 280; // 6 s: the quietest tenth of them is the room
const READ_EVERY = 5; // blocks: figures that change faster cannot be read

const decibels = (amplitude) => Math.max(LOWEST, 20 * Math.log10(amplitude));
const percent = (level) => `${(100 * (Math.min(0, level) - LOWEST)) / -LOWEST}%`;
const figure = (level) => (level <= LOWEST ? `below ${LOWEST}` : level.toFixed(0)).replace("-", "−");

export class Levels {
  #peak = LOWEST;
  #rms = LOWEST;
  #room = [];
  #blocks = 0;

  constructor(root, marks) {
    this.meter = root.querySelector("[role=meter]");
    this.bars = Object.fromEntries(["rms", "peak", "floor"].map((name) => [name, root.querySelector(`.${name}`)]));
    this.texts = Object.fromEntries(["peak", "rms", "floor", "clip"].map((n) => [n, root.querySelector(`#${n}-text`)]));
    this.marks = marks;
    this.reset();
  }

  /** Forget that something was clipped. */
  reset() {
    this.clipped = false;
  }

  show({ peak, rms }) {
    const [loudest, level] = [decibels(peak), decibels(rms)];
    this.#peak = Math.max(loudest, this.#peak - PEAK_FALL);
    this.#rms = Math.max(level, this.#rms - RMS_FALL);
    this.#room = [...this.#room.slice(1 - ROOM_BLOCKS), level];
    this.clipped ||= peak >= CLIPPED;
    this.bars.rms.style.width = percent(this.#rms);
    this.bars.peak.style.left = percent(this.#peak);
    if (this.#blocks++ % READ_EVERY === 0) this.#read(level);
  }

  #read(level) {
    const floor = this.#room.toSorted((a, b) => a - b)[Math.floor(this.#room.length / 10)];
    this.bars.floor.style.width = percent(floor);
    this.texts.peak.textContent = figure(this.#peak);
    this.texts.rms.textContent = figure(level);
    this.texts.floor.textContent = figure(floor);
    this.texts.floor.dataset.rating = floor > this.marks.max_noise_floor_dbfs ? "bad" : "good";
    this.texts.clip.textContent = this.clipped ? "clipped" : "none";
    this.texts.clip.dataset.rating = this.clipped ? "bad" : "good";
    this.meter.setAttribute("aria-valuenow", level.toFixed(0));
    this.meter.setAttribute("aria-valuetext", `${level.toFixed(0)} dBFS`);
    this.meter.dataset.level = this.#peak > -1 ? "hot" : this.#peak < this.marks.min_peak_dbfs ? "low" : "fine";
  }
}
