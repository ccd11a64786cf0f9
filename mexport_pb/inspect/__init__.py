"""Looking at what was exported.

The names are loaded when they are first used: decoding a warmup file needs none of what a dump does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mexport_pb.inspect.facts import ModelFacts as ModelFacts
    from mexport_pb.inspect.model_facts import describe as describe
    from mexport_pb.inspect.tensorboard import import_to_tensorboard as import_to_tensorboard
    from mexport_pb.inspect.warmup_text import decode_warmup as decode_warmup

_MODULE_OF = {
    "ModelFacts": "facts",
    "decode_warmup": "warmup_text",
    "describe": "model_facts",
    "import_to_tensorboard": "tensorboard",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
