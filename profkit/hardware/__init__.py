"""What the hardware can do, each figure with its source.

`profkit.hardware.measure()` is the function of `profkit/hardware/measure.py`.
"""

from profkit.hardware.ceilings import Ceiling, Ceilings
from profkit.hardware.measure import measure

__all__ = ["Ceiling", "Ceilings", "measure"]
