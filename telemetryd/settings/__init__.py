"""What a daemon can be told, and by whom: defaults < config file < environment < flags."""

from telemetryd.settings.load import Loaded, config_path, load
from telemetryd.settings.settings import DaemonSettings

__all__ = ["DaemonSettings", "Loaded", "config_path", "load"]
