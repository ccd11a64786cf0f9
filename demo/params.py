"""Sizes of the demo's model and the files in its directory.

Free of TensorFlow, so that every way of exporting can use it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = [
    "EMBEDDING_DIM",
    "HELD_OUT",
    "HIDDEN",
    "ITEM_FEATURES",
    "TABLE",
    "USER_FEATURES",
    "Params",
    "latest_checkpoint",
]

USER_FEATURES = 8
ITEM_FEATURES = 6
EMBEDDING_DIM = 16
HIDDEN = (32, 16)
TABLE = "embedding/item"
HELD_OUT = "held_out.npz"
"""In the model's directory: inputs that training never saw, and the training graph's predictions for them."""

_PARAMS = "params.json"


@dataclass(frozen=True)
class Params:
    """What a training run chooses.

    Attributes:
        embedding_rows: Rows of the item table; 1,048,576 rows make it 64 MiB.
        embedding_parts: Partitions of the table, by columns. OpenVINO reads 1 only.
    """

    embedding_rows: int = 1000
    embedding_parts: int = 3

    def columns(self) -> list[tuple[int, int]]:
        """First column and width of each part; the first parts take what does not divide evenly."""
        width, more = divmod(EMBEDDING_DIM, self.embedding_parts)
        widths = [width + (part < more) for part in range(self.embedding_parts)]
        return [(sum(widths[:part]), widths[part]) for part in range(self.embedding_parts)]

    def save(self, model_dir: str | os.PathLike[str]) -> None:
        """Write ``params.json``."""
        Path(model_dir, _PARAMS).write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, model_dir: str | os.PathLike[str]) -> Params:
        """Read ``params.json``."""
        return cls(**json.loads(Path(model_dir, _PARAMS).read_text()))


def latest_checkpoint(model_dir: str | os.PathLike[str]) -> Path:
    """Find the prefix ``model.ckpt-<step>`` with the highest step; raises FileNotFoundError when there is none."""
    prefixes = [path.with_suffix("") for path in Path(model_dir).glob("model.ckpt-*.index")]
    if not prefixes:
        raise FileNotFoundError(f"{model_dir}: no model.ckpt-*.index")
    return max(prefixes, key=lambda prefix: int(prefix.name.rpartition("-")[2]))
