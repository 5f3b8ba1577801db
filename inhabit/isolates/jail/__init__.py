"""What stands between a guest that took its worker over and the machine."""

from inhabit.isolates.jail.policy import LAYERS, JailPolicy, Layer
from inhabit.isolates.jail.probe import probe

__all__ = ["LAYERS", "JailPolicy", "Layer", "probe"]
