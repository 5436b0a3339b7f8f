"""The diagnosis at work: what is suspected of each service, and to which incident its page belongs, as things change."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from exporter.diagnosis.model import Diagnosis

__all__ = ["Diagnostician"]


class Diagnostician:
    """Knows what is suspected.

    Attributes:
        diagnoses: What is wrong with each service or dependency that is in trouble, and why; of others nothing.
        incidents: The incident of each service or dependency that is down, once it is chosen.
    """

    def __init__(self) -> None:
        self.diagnoses: Mapping[str, tuple[Diagnosis, ...]] = MappingProxyType({})
        self.incidents: Mapping[str, str] = MappingProxyType({})
