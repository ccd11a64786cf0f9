"""OpenVINO's reader of saved models: a second implementation, which shares no code with TensorFlow.

It parses saved_model.pb and variables.index, maps the data files, and compiles the graph for the CPU. Its limits, found
by trial with OpenVINO 2026.4:

* It reads resource variables (VarHandleOp) and ref variables (VariableV2) whose value is one entry of the bundle, a
  dynamic batch, graphs without variables, and graphs with or without default attributes. The checkpoint key is found
  through the RestoreV2 and Assign nodes of the saver.
* **Partitioned variables are refused** ("Available data size isn't equal to calculated"), resource or ref: it does not
  know slices. A single partition that covers its tensor is stored as a plain entry and is fine.
* **No checksum is verified**: a flipped byte in a data file gives wrong numbers, one in the index may go unseen. A
  missing or short data file, a missing index and a truncated saved_model.pb are refused.
* It chooses the graph and the signature by itself: ``serving_default`` where there is one. Tags are not matched, so
  the graph is looked up here first; a call of another signature is refused here unless its keys fit.
* Inputs and outputs bear the signature's keys. Intermediate tensors cannot be fed or fetched.
* No main op, no assets, no string ops such as StringLength, no hash tables.

All failures are RuntimeErrors, reported with the code ``RuntimeError``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Set

import numpy as np
import openvino

from .loading import Call, LoadError, Session, plan_call, read_meta_graph

__all__ = ["load"]


def load(export_dir: str | os.PathLike[str], tags: Set[str] = frozenset({"serve"})) -> OpenvinoModel:
    """Convert and compile the model with float32 arithmetic; raises :class:`LoadError`."""
    try:
        core = openvino.Core()
        model = core.read_model(os.fspath(export_dir))
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise LoadError("RuntimeError", str(error)) from error
    return OpenvinoModel(compiled, read_meta_graph(export_dir, set(tags)))


class OpenvinoModel(Session):
    """A compiled model."""

    def __init__(self, compiled: openvino.CompiledModel, meta_graph: bytes) -> None:
        self._compiled: openvino.CompiledModel | None = compiled
        self._meta_graph = meta_graph

    def run(self, call: Call, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a signature: the one that OpenVINO chose, or one with the same keys."""
        assert self._compiled is not None, "the model is closed"
        if not isinstance(call, str):
            raise LoadError("UNIMPLEMENTED", "only signatures can be run")
        feeds, fetches = plan_call(self._meta_graph, call, inputs)
        has_inputs = {name for port in self._compiled.inputs for name in port.get_names()}
        has_outputs = {name for port in self._compiled.outputs for name in port.get_names()}
        if not (feeds.keys() <= has_inputs and fetches.keys() <= has_outputs):
            raise LoadError(
                "NOT_FOUND", f"signature {call!r}: got inputs {sorted(has_inputs)} and outputs {sorted(has_outputs)}"
            )
        try:
            answers = self._compiled(dict(inputs))
            return {key: np.array(answers[key]) for key in fetches}
        except RuntimeError as error:
            raise LoadError("RuntimeError", str(error)) from error

    def close(self) -> None:
        self._compiled = None
