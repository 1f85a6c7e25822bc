"""conf/data/record.yaml: what a good take is, and who listens to its words."""

from dataclasses import dataclass

from voice.bounds import within


@dataclass(kw_only=True)
class Recording:
    """Limits of a take. Only silence is refused; whatever else is out of them is said, and the speaker decides."""

    min_seconds: float = within(low=0)  # of speech, without the silence around it
    max_seconds: float = within(above=0)
    max_take_seconds: float = within(above=0, high=600)
    silence_dbfs: float = within(high=0)
    silence_range_db: float = within(low=0)
    min_peak_dbfs: float = within(high=0)
    max_clipped_share: float = within(low=0, high=1)
    min_snr_db: float = within(low=0)
    max_noise_floor_dbfs: float = within(high=0)
    edge_seconds: float = within(above=0)
    edge_below_db: float = within(above=0)
    edge_above_noise_db: float = within(low=0)
    pause_below_db: float = within(above=0)
    dropout_seconds: float = within(above=0)
    max_pause_seconds: float = within(above=0)
    asr: str
    asr_model: str
    max_wer: float = within(above=0)
