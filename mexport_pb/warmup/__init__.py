"""Requests that warm a server up, and requests for trying a model out.

The names are loaded when they are first used: looking into a file needs no numpy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mexport_pb.warmup.check import (
        check_warmup as check_warmup,
    )
    from mexport_pb.warmup.features import (
        FeatureMeta as FeatureMeta,
        read_features as read_features,
    )
    from mexport_pb.warmup.generate import (
        gen_warmup_file as gen_warmup_file,
    )
    from mexport_pb.warmup.logs import (
        read_warmup as read_warmup,
    )
    from mexport_pb.warmup.model import (
        WarmupModel as WarmupModel,
    )
    from mexport_pb.warmup.problems import (
        WarmupProblem as WarmupProblem,
    )
    from mexport_pb.warmup.random_requests import (
        random_predict_request as random_predict_request,
        random_signatures as random_signatures,
    )
    from mexport_pb.warmup.recorded import (
        warmup_from_requests as warmup_from_requests,
    )
    from mexport_pb.warmup.writer import (
        WarmupWriter as WarmupWriter,
        write_warmup as write_warmup,
    )

_MODULE_OF = {
    "FeatureMeta": "features",
    "WarmupModel": "model",
    "WarmupProblem": "problems",
    "WarmupWriter": "writer",
    "check_warmup": "check",
    "gen_warmup_file": "generate",
    "random_predict_request": "random_requests",
    "random_signatures": "random_requests",
    "read_features": "features",
    "read_warmup": "logs",
    "warmup_from_requests": "recorded",
    "write_warmup": "writer",
}

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
