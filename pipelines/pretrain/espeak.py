"""Many speakers out of one formant synthesiser: espeak-ng's English voices with drawn throats, pitches and rates.

A speaker is a language of espeak-ng, a variant (its own, or one drawn here: formants as a vocal tract of another length
would have them, breath, roughness, one of the Klatt sources) and a rate of speech. The same espeak-ng (1.51 so far)
gives the same samples.
"""

import io
import random
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from voice.audio import SAMPLE_RATE, Waveform, resample
from voice.errors import InputError

LANGUAGES = (
    "en-us",
    "en-us",
    "en-us",
    "en-gb",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
# Variants of espeak-ng 1.51 that sound like a person; whispers, robots and croaks are left out.
NAMES = """
m1 m2 m3 m5 m6 m8 f1 f2 f3 Alex Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael
Mike Nguyen adam anika antonio aunty benjamin boris david ed gustave iven iven2 john klatt klatt2 klatt3 klatt4 linda
marcelo max michel miguel norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 travis victor zac
"""
VARIANTS = tuple(NAMES.split())
# Never trained on. `edward` and `f5` are the demo voice and the other speaker of data/.
HELD_OUT_VARIANTS = ("edward", "edward2", "f5", "f4", "m4", "m7", "Alicia", "iven3", "belinda", "caleb")

# The demo voice and the other speaker: of two dozen tried, those that pocketsphinx understands best. Of most others,
# with sentences that make no sense, it gets nine words in ten wrong, which leaves nothing to judge.
JUDGED = (("edward", 45, 175), ("f5", 60, 175))

MADE_SHARE = 0.6  # of speakers, those with a drawn variant
LEVEL_DBFS = -25.0  # RMS; close to the -23 LUFS that preprocessing gives every clip
PEAK_LIMIT = 10 ** (-1 / 20)
EDGE_SECONDS = (0.03, 0.25)  # silence before and after, drawn


@dataclass(frozen=True, slots=True)
class Speaker:
    """How espeak-ng is to speak. `pitch` is its own scale, 0 to 99, applied on top of the variant's."""

    name: str
    language: str
    variant: str
    pitch: int
    words_per_minute: int
    recipe: str = ""  # text of the variant's file where it was drawn here


def draw_speaker(name: str, rng: random.Random, *, variants: Sequence[str], made_share: float = MADE_SHARE) -> Speaker:
    """Draw a speaker whose variant is one of `variants` or, for `made_share` of them, one made up on the spot."""
    made = rng.random() < made_share
    return Speaker(
        name=name,
        language=rng.choice(LANGUAGES),
        variant=f"nano-{name}" if made else rng.choice(variants),
        pitch=rng.randint(30, 70),
        words_per_minute=rng.randint(140, 195),
        recipe=_draw_recipe(rng) if made else "",
    )


def judged_speakers() -> list[Speaker]:
    """Held-out speakers that a recogniser understands."""
    return [
        Speaker(name=f"judged-{variant}", language="en-us", variant=variant, pitch=pitch, words_per_minute=rate)
        for variant, pitch, rate in JUDGED
    ]


def _draw_recipe(rng: random.Random) -> str:
    low_voice = rng.random() < 0.5
    base = rng.randint(70, 130) if low_voice else rng.randint(140, 220)  # Hz
    tract = rng.uniform(0.88, 1.06) if low_voice else rng.uniform(0.98, 1.22)  # formants against the standard voice's
    lines = [
        "language variant",
        f"pitch {base} {round(base * rng.uniform(1.15, 1.7))}",
        f"voicing {rng.randint(75, 110)}",
        f"consonants {rng.randint(70, 140)} {rng.randint(70, 140)}",
        f"flutter {rng.randint(0, 5)}",
        f"roughness {rng.choice((0, 0, 1, 2, 3))}",
    ]
    for formant in range(9):
        frequency = round(100 * tract * rng.uniform(0.96, 1.04))
        lines.append(f"formant {formant} {frequency} {rng.randint(75, 115)} {rng.randint(80, 160)}")
    if rng.random() < 0.3:
        lines.append("breath " + " ".join(str(rng.randint(0, 4)) for _ in range(8)))
    if rng.random() < 0.3:
        lines.append(f"klatt {rng.randint(1, 5)}")
    return "\n".join(lines) + "\n"


def install(speakers: Sequence[Speaker], folder: Path) -> None:
    """Make a data folder for each speaker: links to the installed one, and only that speaker's variant.

    espeak-ng refuses more than 350 voices in one folder, and looks at all of them each time it starts.
    """
    installed = _installed_data()
    for speaker in speakers:
        data = folder / speaker.name / "espeak-ng-data"
        variant = data / "voices" / "!v" / speaker.variant
        variant.parent.mkdir(parents=True)
        for entry in installed.iterdir():
            if entry.name != "voices":
                (data / entry.name).symlink_to(entry)
        if speaker.recipe:
            variant.write_text(speaker.recipe)
        else:
            variant.symlink_to(installed / "voices" / "!v" / speaker.variant)


def _installed_data() -> Path:
    try:
        banner = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise InputError("espeak-ng is missing. Install it: apt-get install espeak-ng") from None
    found = re.search(r"Data at: (.+)", banner)
    if not found:
        raise InputError(f"espeak-ng did not say where its data lies ({banner.strip()!r}). Install 1.51 or later.")
    return Path(found[1].strip())


def speak(text: str, speaker: Speaker, *, data: Path, rng: random.Random) -> Waveform:
    """Synthesise at 24 kHz, at one loudness, with a little silence at both ends."""
    options = ["-v", f"{speaker.language}+{speaker.variant}", "-p", str(speaker.pitch)]
    options += ["-s", str(speaker.words_per_minute), f"--path={data / speaker.name}"]
    # the text comes on stdin: an argument could be taken for an option
    command = ["espeak-ng", *options, "-z", "--stdout", "--stdin"]
    wav = subprocess.run(command, check=True, capture_output=True, input=text.encode()).stdout
    speech, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    speech = resample(speech, from_rate=rate)
    rms, peak = float(np.sqrt(np.mean(speech**2))), float(np.abs(speech).max())
    speech = speech * min(10 ** (LEVEL_DBFS / 20) / rms, PEAK_LIMIT / peak)
    return np.pad(speech, [round(rng.uniform(*EDGE_SECONDS) * SAMPLE_RATE) for _ in range(2)])
