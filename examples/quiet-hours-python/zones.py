"""Time zones without files.

Owns the data of the package tzdata, read once while the plugin is built, since nothing can be read in a call. In a native test
without that package the machine's own zones are taken.
"""

import io
from importlib import resources
from zoneinfo import ZoneInfo


def _read() -> dict[str, bytes]:
    try:
        package = resources.files("tzdata")
    except ModuleNotFoundError:
        return {}
    names = (package / "zones").read_text(encoding="utf-8").split()
    return {name: (package / "zoneinfo" / name).read_bytes() for name in names}


_DATA = _read()


def zone(name: str) -> ZoneInfo:
    """The zone of this IANA name; KeyError when there is none."""
    if not _DATA:
        try:
            return ZoneInfo(name)
        except (OSError, ValueError) as error:
            raise KeyError(name) from error
    return ZoneInfo.from_file(io.BytesIO(_DATA[name]), key=name)
