// The microphone as it is: one channel, at its own rate, without the filters that browsers put over calls.

const UNFILTERED = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, voiceIsolation: false };
const LEAD_IN_SECONDS = 0.25; // left out at the start: the key that started the take is still to be heard

const REMEDIES = {
  NotAllowedError:
    "The browser may not use the microphone. Allow it with the symbol in the address bar, then turn it on again.",
  NotFoundError: "No microphone was found. Plug one in, then turn it on again.",
  NotReadableError:
    "The microphone is in use by another program, or the system keeps it back. Close calls and recorders, then turn it on again.",
  OverconstrainedError: "The chosen microphone is gone. Plug it in or choose another one, then turn it on again.",
};

/** What went wrong with the microphone, in words. */
export function explain(error) {
  return REMEDIES[error.name] ?? `The microphone could not be opened (${error.message}). Reload the page.`;
}

/** The microphones that the browser offers; they have names once one has been opened. */
export async function microphones() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "audioinput" && device.deviceId);
}

export class Microphone {
  /** Open a microphone. `onBlock({peak, rms, taken})` reports levels in [0, 1] and the seconds of the running take. */
  static async open({ deviceId, onBlock, onLost }) {
    if (!navigator.mediaDevices) {
      throw new Error("browsers give it only to pages of this machine: open the page as http://127.0.0.1");
    }
    const constraints = { ...UNFILTERED, channelCount: 1, ...(deviceId && { deviceId: { exact: deviceId } }) };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: constraints });
    const microphone = new Microphone(stream, onBlock);
    stream.getAudioTracks()[0].addEventListener("ended", onLost);
    await microphone.#connect();
    return microphone;
  }

  #chunks = [];
  #taken = 0; // samples

  constructor(stream, onBlock) {
    this.stream = stream;
    this.onBlock = onBlock;
    // at the device's own rate nothing is resampled on the way
    const { sampleRate } = stream.getAudioTracks()[0].getSettings();
    this.context = new AudioContext(sampleRate ? { sampleRate } : {});
  }

  async #connect() {
    await this.context.audioWorklet.addModule("meter.js");
    this.node = new AudioWorkletNode(this.context, "meter", { channelCount: 1, channelCountMode: "explicit" });
    this.node.port.onmessage = ({ data }) => this.#receive(data);
    // to the loudspeaker, silent: what leads nowhere is not run
    this.context.createMediaStreamSource(this.stream).connect(this.node).connect(this.context.destination);
    await this.context.resume();
  }

  #receive({ peak, rms, samples, end }) {
    if (samples?.length) {
      this.#chunks.push(samples);
      this.#taken += samples.length;
    }
    if (end) this.#ended?.(this.#chunks);
    else this.onBlock({ peak, rms, taken: this.#taken / this.rate });
  }

  #ended = null;

  get rate() {
    return this.context.sampleRate;
  }

  /** Names of the filters that the browser applies although it was asked not to. */
  get filters() {
    const settings = this.stream.getAudioTracks()[0].getSettings();
    return Object.keys(UNFILTERED).filter((name) => settings[name]);
  }

  start() {
    this.#chunks = [];
    this.#taken = 0;
    this.node.port.postMessage({ start: true, skip: Math.round(LEAD_IN_SECONDS * this.rate) });
  }

  /** End the take and return its samples in pieces. */
  stop() {
    return new Promise((resolve) => {
      this.#ended = resolve;
      this.node.port.postMessage({ start: false });
    });
  }

  async close() {
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }
}
