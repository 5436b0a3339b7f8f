"""Words of others, as they are shown: in details, labels, pages and the log."""

from __future__ import annotations

from exporter.masking import mask, mask_own
from exporter.verdict import Failure, Reason, Stage
from exporter.visible import visible
from fuzz.model import Finding, Target

__all__ = ["TARGETS"]


def _words(data: bytes) -> object:
    text = data.decode("utf-8", "surrogateescape")
    shown = visible(mask_own(mask(text)))
    if visible(shown) != shown:
        raise Finding(f"not all of it is visible: {shown!r}")
    raise Failure(Stage.CHECK, Reason.MALFORMED, text)


TARGETS = (Target("words", _words, ("exporter.masking", "exporter.visible")),)
