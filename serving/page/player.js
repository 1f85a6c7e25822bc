// Plays 16-bit samples while they arrive: each part is scheduled where the one before it ends.

const LEAD_SECONDS = 0.06; // before the first part, so that the second is there in time
const AUDIBLE = 0.005; // -46 dBFS, as the service measures

export class Player {
  constructor(rate) {
    this.context = new AudioContext();
    this.rate = rate;
    this.next = 0;
    this.samples = 0;
    this.odd = new Uint8Array(0);
    this.silence = 0; // samples before the first audible one
    this.heard = false;
  }

  push(bytes) {
    const joined = new Uint8Array(this.odd.length + bytes.length);
    joined.set(this.odd);
    joined.set(bytes, this.odd.length);
    const whole = joined.length - (joined.length % 2);
    this.odd = joined.slice(whole);
    if (whole) this.schedule(new Int16Array(joined.buffer.slice(0, whole)));
  }

  schedule(samples) {
    const buffer = this.context.createBuffer(1, samples.length, this.rate);
    const channel = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; i++) {
      channel[i] = samples[i] / 32767;
      if (!this.heard && Math.abs(channel[i]) > AUDIBLE) {
        this.heard = true;
        this.silence = this.samples + i;
      }
    }
    this.samples += samples.length;
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.context.destination);
    this.next = Math.max(this.next, this.context.currentTime + LEAD_SECONDS);
    source.start(this.next);
    this.next += buffer.duration;
  }

  stop() {
    this.context.close();
  }
}
