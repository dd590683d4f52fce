"""The converter of our own API: that of the entities, and how claims are written."""

from __future__ import annotations

from typing import Any, Final

import cattrs

from annotation_queue.converters import make_converter
from annotation_queue.items import Claim, ClaimRef


def _make() -> cattrs.Converter:
    converter = make_converter()
    read, write = converter.get_structure_hook(Claim), converter.get_unstructure_hook(Claim)

    def read_claim(value: Any, kind: Any) -> Any:  # noqa: ANN401 - JSON
        if type(value) is dict:
            value = {name: each for name, each in value.items() if name != "ref"}
        return read(value, kind)

    # What is sent back to act on a claim stands beside it.
    converter.register_structure_hook(Claim, read_claim)
    converter.register_unstructure_hook(Claim, lambda claim: write(claim) | {"ref": str(claim.ref)})
    return converter


CONVERTER: Final = _make()


def read_ref(value: object) -> ClaimRef:
    """Read the reference of a claim: its text, or the object of its three fields."""
    if type(value) is dict:
        return CONVERTER.structure(value, ClaimRef)
    return ClaimRef.parse(value)  # type: ignore[arg-type]  # it refuses what is no text
