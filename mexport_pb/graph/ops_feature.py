"""From requests to ids: tf.Example messages, and lookup tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DT_FLOAT, DT_INT32, DT_INT64, DT_STRING
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.core import to_shape
from mexport_pb.graph.features import Feature, FixedLenFeature, FixedLenSequenceFeature, RaggedFeature, VarLenFeature
from mexport_pb.graph.ops_array import TensorLike
from mexport_pb.graph.ops_segment import RaggedTensor, SparseTensor
from mexport_pb.graph.ops_variable import VariableOps
from mexport_pb.graph.tensor import Operation, Tensor
from mexport_pb.messages import make_tensor_shape
from mexport_pb.messages.constants import ASSET_FILEPATHS_COLLECTION, TABLE_INITIALIZERS_COLLECTION

if TYPE_CHECKING:
    from mexport_pb.graph.builder import GraphBuilder

__all__ = ["FeatureOps", "LookupTable"]

_UNSAFE_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.\-/]")
_WHOLE_LINE: Final = -2
_LINE_NUMBER: Final = -1


class LookupTable:
    """A table of the graph from keys to values, filled when the model is loaded.

    Made by :meth:`GraphBuilder.lookup_table` and :meth:`GraphBuilder.lookup_table_from_file`.

    Attributes:
        handle: The table's resource.
        initializer: The operation that fills it; it is in the collection ``table_initializer``.
        default_value: What missing keys give.
    """

    __slots__ = ("default_value", "handle", "initializer")

    def __init__(self, handle: Tensor, initializer: Operation, default_value: Tensor) -> None:
        self.handle = handle
        self.initializer = initializer
        self.default_value = default_value

    @property
    def graph(self) -> GraphBuilder:
        """The graph that the table belongs to."""
        return self.handle.graph

    def lookup(self, keys: TensorLike, name: str | None = None) -> Tensor:
        """Return the value of each key, of the keys' shape.

        Raises:
            InvalidArgumentError: keys of another type.
        """
        attrs = {"Tout": self.default_value.dtype}
        key_dtype = self.handle.op.node_def.attr["key_dtype"].type
        with self.graph.name_scope(name or self._scope("Lookup")):
            tensor = self.graph.to_tensor(keys, key_dtype, name="keys")
            inputs = [self.handle, tensor, self.default_value]
            return self.graph.op("LookupTableFindV2", inputs, attrs=attrs, shapes=[tensor.shape]).output

    def size(self, name: str | None = None) -> Tensor:
        """Return the number of entries, int64."""
        with self.graph.name_scope(name or self._scope("Size")):
            return self.graph.op("LookupTableSizeV2", [self.handle]).output

    def _scope(self, what: str) -> str:
        return f"{self.handle.op.name.rpartition('/')[2]}_{what}"


class FeatureOps(VariableOps):
    """The front of a serving graph. All raise InvalidArgumentError for what does not go together."""

    def parse_example(
        self, serialized: TensorLike, features: Mapping[str, Feature], name: str | None = None
    ) -> dict[str, Tensor | SparseTensor | RaggedTensor]:
        """Parse serialised tf.Example messages (string, [batch] or scalar), as ``tf.io.parse_example`` does.

        Args:
            serialized: The messages.
            features: What to take of them, by name.
            name: Of the node, and of the scope around it.

        Returns:
            For each feature in the order of names: a tensor [batch, *shape] for FixedLenFeature, [batch, longest,
            *shape] for FixedLenSequenceFeature, and the sparse or ragged tensor of the others.

        Raises:
            InvalidArgumentError: no features; an unknown kind or type of one; or ragged features of messages of
                unknown rank.
        """
        if not features:
            raise InvalidArgumentError("parse_example: got no features")
        ordered = sorted(features.items())
        sparse = [(key, one) for key, one in ordered if isinstance(one, VarLenFeature)]
        ragged = [(key, one) for key, one in ordered if isinstance(one, RaggedFeature)]
        dense = [(key, one) for key, one in ordered if isinstance(one, FixedLenFeature | FixedLenSequenceFeature)]
        if len(sparse) + len(ragged) + len(dense) != len(ordered):
            raise InvalidArgumentError(f"parse_example: got features of unknown kinds among {dict(ordered)}")
        with self.name_scope(name or "ParseExample"):
            defaults = [self._dense_default(key, one) for key, one in dense]
            messages = self.to_tensor(serialized, DT_STRING, name="serialized")
            if ragged and messages.shape is None:
                raise InvalidArgumentError(f"parse_example: {messages.name} is of unknown rank, with ragged features")
            attrs = {
                "num_sparse": len(sparse),
                "sparse_types": [dtypes.datatype_of(one.dtype) for _, one in sparse],
                "ragged_value_types": [dtypes.datatype_of(one.dtype) for _, one in ragged],
                "ragged_split_types": [dtypes.datatype_of(one.row_splits_dtype) for _, one in ragged],
                "dense_shapes": [make_tensor_shape(_dense_shape(one)) for _, one in dense],
            }
            keys = [[key for key, _ in group] for group in (sparse, dense, ragged)]
            inputs = [messages, [], *keys, defaults]
            outputs = list(self.op("ParseExampleV2", inputs, attrs=attrs, name=name).outputs)
        found: dict[str, Tensor | SparseTensor | RaggedTensor] = {}
        n, d, r = len(sparse), len(dense), len(ragged)
        for i, key in enumerate(keys[0]):
            found[key] = SparseTensor(outputs[i], outputs[n + i], outputs[2 * n + i])
        for i, key in enumerate(keys[1]):
            found[key] = outputs[3 * n + i]
        for i, key in enumerate(keys[2]):
            found[key] = RaggedTensor(outputs[3 * n + d + i], outputs[3 * n + d + r + i])
        return {key: found[key] for key in sorted(found)}

    def _dense_default(self, key: str, feature: FixedLenFeature | FixedLenSequenceFeature) -> Tensor:
        datatype = dtypes.datatype_of(feature.dtype)
        padded = isinstance(feature, FixedLenSequenceFeature)
        if feature.default_value is None:
            return self.const(("" if datatype == DT_STRING else 0) if padded else [], datatype)
        prefix = "padding_" if padded else "key_"
        value = self.to_tensor(feature.default_value, datatype, name=prefix + _UNSAFE_IN_NAMES.sub("_", key))
        with self.name_scope("Reshape") as scope:
            if padded:
                # TensorFlow leaves a constant of its first guess at the type of [].
                self.const([], DT_FLOAT, name="shape")
            shape = self.const([] if padded else list(feature.shape), DT_INT32, name="shape")
            return self.op("Reshape", [value, shape], name=scope).output

    def lookup_table(
        self, keys: TensorLike, values: TensorLike, default_value: Any, name: str | None = None
    ) -> LookupTable:
        """Add a table of the given entries, as ``tf.lookup.StaticHashTable`` with a KeyValueTensorInitializer.

        Args:
            keys: Integers or strings, each once. Tables take int32 and int64, which ``[1, 2]`` and numpy's default are.
            values: As many, of any type that tables hold.
            default_value: For missing keys, of the values' type.
            name: Of the table's node.
        """
        pairs = [self.to_tensor(value, name=what) for value, what in ((keys, "keys"), (values, "values"))]
        types = [dtypes.base_datatype(one.dtype) for one in pairs]
        table, default = self._table(types[0], types[1], default_value, name)
        with self.name_scope("key_value_init"):
            initializer = self.op("LookupTableImportV2", [table, *pairs])
        return self._initialised(table, initializer, default)

    def lookup_table_from_file(
        self,
        filename: str | os.PathLike[str],
        default_value: Any,
        *,
        key_dtype: dtypes.DTypeLike = DT_STRING,
        key_index: int = _WHOLE_LINE,
        value_dtype: dtypes.DTypeLike = DT_INT64,
        value_index: int = _LINE_NUMBER,
        vocab_size: int | None = None,
        delimiter: str = "\t",
        name: str | None = None,
    ) -> LookupTable:
        """Add a table of a text file, as ``tf.lookup.StaticHashTable`` with a TextFileInitializer.

        The file becomes an asset of the export (collection ``asset_filepaths``). By default lines are the keys and
        their numbers the values.

        Args:
            filename: Of the vocabulary; it is read by the server and by the exporter, not here.
            default_value: For missing keys, of the values' type.
            key_dtype: string or int64.
            key_index: Which column holds the keys; -2 is the whole line, -1 its number (from 0).
            value_dtype: As the column needs.
            value_index: As ``key_index``.
            vocab_size: How many lines there are; None takes all.
            delimiter: One character between columns.
            name: Of the table's node.
        """
        types = dtypes.datatype_of(key_dtype), dtypes.datatype_of(value_dtype)
        for what, index, datatype in zip(("key", "value"), (key_index, value_index), types, strict=True):
            wanted = {_WHOLE_LINE: DT_STRING, _LINE_NUMBER: DT_INT64}.get(index, datatype)
            if index < _WHOLE_LINE or (index == _LINE_NUMBER and datatype != wanted):
                raise InvalidArgumentError(f"{what} of a table: got index {index} of {dtypes.name_of(datatype)}")
        with self.control_dependencies(None), self.device("/device:CPU:*"):
            path = self.const(os.fspath(filename), DT_STRING, name="asset_path")
        self.add_to_collection(ASSET_FILEPATHS_COLLECTION, path)
        table, default = self._table(*types, default_value, name)
        attrs = {
            "key_index": key_index,
            "value_index": value_index,
            "vocab_size": -1 if vocab_size is None else vocab_size,
            "delimiter": delimiter,
        }
        with self.name_scope("text_file_init"):
            initializer = self.op("InitializeTableFromTextFileV2", [table, path], attrs=attrs)
        return self._initialised(table, initializer, default)

    def _table(self, key_dtype: int, value_dtype: int, default: Any, name: str | None) -> tuple[Tensor, Tensor]:
        default_value = self.to_tensor(default, value_dtype)
        with self.name_scope(name or "hash_table") as scope:
            attrs = {
                "key_dtype": key_dtype,
                "value_dtype": value_dtype,
                # TensorFlow puts a random number or the file's path here; names of nodes are as good, and repeatable.
                "shared_name": f"hash_table_{scope[:-1]}",
            }
            return self.op("HashTableV2", attrs=attrs, name=scope).output, default_value

    def _initialised(self, table: Tensor, initializer: Operation, default_value: Tensor) -> LookupTable:
        self.add_to_collection(TABLE_INITIALIZERS_COLLECTION, initializer)
        return LookupTable(table, initializer, default_value)


def _dense_shape(feature: FixedLenFeature | FixedLenSequenceFeature) -> list[int | None]:
    shape = list(cast("tuple[int | None, ...]", to_shape(feature.shape)))
    if None in shape:
        raise InvalidArgumentError(f"feature: got shape {list(feature.shape)}, want known sizes")
    return [None, *shape] if isinstance(feature, FixedLenSequenceFeature) else shape
