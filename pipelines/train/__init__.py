"""The objective and the trainer."""

import logging

# peft imports bitsandbytes, which warns of a CPU kernel for 4-bit weights that nothing here uses
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
