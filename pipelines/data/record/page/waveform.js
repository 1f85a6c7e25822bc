// A take as a picture, so that cut-off words and pauses are seen.

const BAR = 3; // CSS pixels, with its gap
const GAP = 1;

let wanted; // the last picture that was asked for

/** Draw the audio at `url` into a canvas; until then it is empty. */
export async function draw(canvas, url) {
  wanted = url;
  canvas.width = 0;
  delete canvas.dataset.drawn;
  const encoded = await (await fetch(url)).arrayBuffer();
  // decoding needs a context, but none that plays
  const audio = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(encoded);
  if (url !== wanted) return; // another take came meanwhile
  paint(canvas, audio.getChannelData(0));
  canvas.dataset.drawn = url;
}

function paint(canvas, samples) {
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  pen.fillStyle = getComputedStyle(canvas).color;
  const bars = Math.floor(width / BAR);
  for (let i = 0; i < bars; i++) {
    const tall = Math.max(1.5, height * loudest(samples, i / bars, (i + 1) / bars));
    pen.beginPath();
    pen.roundRect(i * BAR, (height - tall) / 2, BAR - GAP, tall, 1);
    pen.fill();
  }
}

function loudest(samples, from, to) {
  let peak = 0;
  for (let i = Math.floor(from * samples.length); i < to * samples.length; i++) peak = Math.max(peak, Math.abs(samples[i]));
  return Math.sqrt(peak); // closer to what is heard than the amplitude
}
