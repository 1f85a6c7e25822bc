// A take as a picture, so that cut-off words and pauses are seen.

const BAR = 3; // CSS pixels, with its gap
const GAP = 1;

/** Draw the audio at `url` into a canvas. */
export async function draw(canvas, url) {
  const encoded = await (await fetch(url)).arrayBuffer();
  // decoding needs a context, but none that plays
  const audio = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(encoded);
  paint(canvas, audio.getChannelData(0));
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
