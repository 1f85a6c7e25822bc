// On the audio thread: the level of every block and, while a take runs, its samples.

const BLOCK = 1024; // samples between two readings: 21 ms at 48 kHz; a whole number of what `process` gets at once

class Meter extends AudioWorkletProcessor {
  constructor() {
    super();
    this.begin(false, 0);
    this.port.onmessage = ({ data }) => (data.start ? this.begin(true, data.skip) : this.end());
  }

  begin(taking, skip) {
    this.taking = taking;
    this.skip = skip;
    this.fresh();
  }

  fresh() {
    this.block = new Float32Array(BLOCK); // a new one: the last was handed over
    this.filled = 0;
  }

  end() {
    const samples = this.taking && this.skip <= 0 ? this.block.slice(0, this.filled) : new Float32Array(0);
    this.begin(false, 0);
    this.port.postMessage({ samples, end: true });
  }

  process([input]) {
    const samples = input[0]; // none before the microphone runs
    if (samples) this.push(samples);
    return true;
  }

  push(samples) {
    this.block.set(samples, this.filled);
    this.filled += samples.length;
    if (this.skip > 0) {
      this.skip -= samples.length;
      if (this.skip <= 0) return this.fresh(); // the take begins here
    }
    if (this.filled === BLOCK) this.report();
  }

  report() {
    let peak = 0;
    let power = 0;
    for (const sample of this.block) {
      peak = Math.max(peak, Math.abs(sample));
      power += sample * sample;
    }
    const samples = this.taking && this.skip <= 0 ? this.block : null;
    this.port.postMessage({ peak, rms: Math.sqrt(power / BLOCK), samples });
    this.fresh();
  }
}

registerProcessor("meter", Meter);
