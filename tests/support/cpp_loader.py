"""TensorFlow's C++ loader, the one inside TensorFlow Serving, called through the C API of the installed libraries.

Neither ``import tensorflow`` nor a compiler is needed. Where the process has imported TensorFlow as well, both use the
same library, so that op libraries which ``tf.load_op_library`` loaded are known here too.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import ml_dtypes
import numpy as np

from .loading import Call, LoadError, Session, plan_call

__all__ = ["load"]

_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_STRING = 7
_STRING_SIZE = 24  # sizeof(TF_TString)
_DTYPES = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    8: np.dtype(np.complex64),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    14: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype(np.uint16),
    18: np.dtype(np.complex128),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
}
_ENUMS = {dtype: enum for enum, dtype in _DTYPES.items()}


class _Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


class _Output(ctypes.Structure):
    """TF_Output: one output of an operation."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


# name: (result, arguments...)
_FUNCTIONS = {
    "TF_NewStatus": (c_void_p,),
    "TF_DeleteStatus": (None, c_void_p),
    "TF_GetCode": (c_int, c_void_p),
    "TF_Message": (c_char_p, c_void_p),
    "TF_NewBuffer": (POINTER(_Buffer),),
    "TF_DeleteBuffer": (None, POINTER(_Buffer)),
    "TF_NewGraph": (c_void_p,),
    "TF_DeleteGraph": (None, c_void_p),
    "TF_GraphOperationByName": (c_void_p, c_void_p, c_char_p),
    "TF_OperationNumOutputs": (c_int, c_void_p),
    "TF_NewSessionOptions": (c_void_p,),
    "TF_DeleteSessionOptions": (None, c_void_p),
    "TF_LoadSessionFromSavedModel": (
        *(c_void_p, c_void_p, c_void_p, c_char_p, POINTER(c_char_p)),
        *(c_int, c_void_p, POINTER(_Buffer), c_void_p),
    ),
    "TF_CloseSession": (None, c_void_p, c_void_p),
    "TF_DeleteSession": (None, c_void_p, c_void_p),
    "TF_SessionRun": (
        *(None, c_void_p, c_void_p, POINTER(_Output), POINTER(c_void_p), c_int),
        *(POINTER(_Output), POINTER(c_void_p), c_int, POINTER(c_void_p), c_int, c_void_p, c_void_p),
    ),
    "TF_AllocateTensor": (c_void_p, c_int, POINTER(c_int64), c_int, c_size_t),
    "TF_DeleteTensor": (None, c_void_p),
    "TF_TensorType": (c_int, c_void_p),
    "TF_NumDims": (c_int, c_void_p),
    "TF_Dim": (c_int64, c_void_p, c_int),
    "TF_TensorData": (c_void_p, c_void_p),
    "TF_TensorByteSize": (c_size_t, c_void_p),
    "TF_StringInit": (None, c_void_p),
    "TF_StringCopy": (None, c_void_p, c_char_p, c_size_t),
    "TF_StringDealloc": (None, c_void_p),
    "TF_StringGetDataPointer": (c_void_p, c_void_p),
    "TF_StringGetSize": (c_size_t, c_void_p),
}


@functools.cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@contextmanager
def _status() -> Iterator[c_void_p]:
    """Lend a status to calls; what they report is raised when the block is left."""
    tf = _library()
    status = c_void_p(tf.TF_NewStatus())
    try:
        yield status
        code = tf.TF_GetCode(status)
        if code:
            raise LoadError(_CODES[code], tf.TF_Message(status).decode("utf-8", "replace"))
    finally:
        tf.TF_DeleteStatus(status)


def load(export_dir: str | os.PathLike[str], tags: Set[str] = frozenset({"serve"})) -> CppModel:
    """Load the graph with these tags, restore its variables and run its main op; raises :class:`LoadError`."""
    tf = _library()
    graph = c_void_p(tf.TF_NewGraph())
    options = c_void_p(tf.TF_NewSessionOptions())
    meta_graph = tf.TF_NewBuffer()
    names = (c_char_p * len(tags))(*(tag.encode() for tag in sorted(tags)))
    try:
        with _status() as status:
            session = c_void_p(
                tf.TF_LoadSessionFromSavedModel(
                    options, None, os.fsencode(export_dir), names, len(tags), graph, meta_graph, status
                )
            )
        return CppModel(graph, session, ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length))
    except LoadError:
        tf.TF_DeleteGraph(graph)
        raise
    finally:
        tf.TF_DeleteBuffer(meta_graph)
        tf.TF_DeleteSessionOptions(options)


class CppModel(Session):
    """A graph and a session of the C API."""

    def __init__(self, graph: c_void_p, session: c_void_p, meta_graph: bytes) -> None:
        self._graph: c_void_p | None = graph
        self._session = session
        self._meta_graph = meta_graph

    def run(self, call: Call, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Feed and fetch; a fetch that names an operation without outputs is run and not in the answer."""
        assert self._graph, "the model is closed"
        tf = _library()
        feeds, fetches = plan_call(self._meta_graph, call, inputs)
        wanted = {key: self._output(name) for key, name in fetches.items()}
        targets = [output.operation for output in wanted.values() if not tf.TF_OperationNumOutputs(output.operation)]
        outputs = {key: o for key, o in wanted.items() if tf.TF_OperationNumOutputs(o.operation)}
        if not wanted:
            return {}
        sources = [self._output(name) for name in feeds.values()]
        fed: list[_Tensor] = []
        results = (c_void_p * len(outputs))()
        try:
            fed.extend(_Tensor(inputs[key]) for key in feeds)  # one by one, so that a failure leaves the others to free
            with _status() as status:
                tf.TF_SessionRun(
                    *(self._session, None),
                    *((_Output * len(fed))(*sources), (c_void_p * len(fed))(*(t.handle for t in fed)), len(fed)),
                    *((_Output * len(outputs))(*outputs.values()), results, len(outputs)),
                    *((c_void_p * len(targets))(*targets), len(targets), None, status),
                )
            return {key: _to_array(handle) for key, handle in zip(outputs, results, strict=True)}
        finally:
            for tensor in fed:
                tensor.free()
            for handle in results:
                if handle:
                    tf.TF_DeleteTensor(handle)

    def close(self) -> None:
        if self._graph is None:
            return
        tf = _library()
        graph, self._graph = self._graph, None
        try:
            with _status() as status:
                tf.TF_CloseSession(self._session, status)
        finally:
            with _status() as status:
                tf.TF_DeleteSession(self._session, status)
            tf.TF_DeleteGraph(graph)

    def _output(self, name: str) -> _Output:
        operation, _, index = name.partition(":")
        handle = _library().TF_GraphOperationByName(self._graph, operation.encode())
        if not handle:
            raise LoadError("NOT_FOUND", f"no operation {operation!r} in the graph")
        return _Output(handle, int(index or 0))


class _Tensor:
    """A TF_Tensor made of an array; arrays of bytes or str become string tensors."""

    def __init__(self, value: np.ndarray) -> None:
        tf = _library()
        array = np.asarray(value)
        self._strings = array.size if array.dtype.kind in "OSU" else 0
        dims = (c_int64 * array.ndim)(*array.shape)
        if array.dtype.kind in "OSU":
            values = [v.encode() if isinstance(v, str) else bytes(v) for v in array.ravel().tolist()]
            self.handle = tf.TF_AllocateTensor(_STRING, dims, array.ndim, array.size * _STRING_SIZE)
            start = tf.TF_TensorData(self.handle)
            for i, v in enumerate(values):
                tf.TF_StringInit(start + i * _STRING_SIZE)
                tf.TF_StringCopy(start + i * _STRING_SIZE, v, len(v))
        else:
            data = np.ascontiguousarray(array).tobytes()
            self.handle = tf.TF_AllocateTensor(_ENUMS[array.dtype], dims, array.ndim, len(data))
            if data:
                ctypes.memmove(tf.TF_TensorData(self.handle), data, len(data))

    def free(self) -> None:
        tf = _library()
        start = tf.TF_TensorData(self.handle) if self._strings else 0
        for i in range(self._strings):
            tf.TF_StringDealloc(start + i * _STRING_SIZE)
        tf.TF_DeleteTensor(self.handle)


def _to_array(handle: int) -> np.ndarray:
    tf = _library()
    shape = tuple(tf.TF_Dim(handle, i) for i in range(tf.TF_NumDims(handle)))
    enum, start = tf.TF_TensorType(handle), tf.TF_TensorData(handle)
    if enum == _STRING:
        values = np.empty(int(np.prod(shape)), object)
        for i in range(values.size):
            element = start + i * _STRING_SIZE
            size = tf.TF_StringGetSize(element)
            values[i] = ctypes.string_at(tf.TF_StringGetDataPointer(element), size)
        return values.reshape(shape)
    if enum not in _DTYPES:
        raise LoadError("UNIMPLEMENTED", f"tensors of type {enum} are not read here")
    return np.frombuffer(ctypes.string_at(start, tf.TF_TensorByteSize(handle)), _DTYPES[enum]).reshape(shape)
