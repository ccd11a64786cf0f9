"""Variables with their initialisers and reads, as ``tf.compat.v1.get_variable`` and ``Variable`` make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mexport_pb import dtypes
from mexport_pb._proto.tensor_pb2 import DT_FLOAT, DT_INT64
from mexport_pb._proto.variable_pb2 import VARIABLE_AGGREGATION_ONLY_FIRST_REPLICA
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.core import to_shape
from mexport_pb.graph.ops_segment import SegmentOps
from mexport_pb.graph.shapes import merge
from mexport_pb.graph.slices import SaveSlice
from mexport_pb.graph.tensor import Tensor
from mexport_pb.graph.variable import Variable
from mexport_pb.messages import ShapeLike, make_attr_value, make_tensor_shape
from mexport_pb.messages.constants import (
    GLOBAL_STEP_COLLECTION,
    TRAINABLE_VARIABLES_COLLECTION,
    VARIABLES_COLLECTION,
)

__all__ = ["VariableOps"]


class VariableOps(SegmentOps):
    """The makers of variables."""

    def variable(
        self,
        name: str,
        shape: ShapeLike = None,
        dtype: dtypes.DTypeLike = None,
        initial_value: Any = None,
        *,
        use_resource: bool = True,
        trainable: bool = True,
        collections: Sequence[str] = (VARIABLES_COLLECTION,),
        save_slice: SaveSlice | None = None,
    ) -> Variable:
        """Add a variable with its initialiser and the read that savers use.

        Args:
            name: Made unique in the current scope; the variable's key in a checkpoint.
            shape: Of the value; by default the initial value's.
            dtype: Of the value; by default the initial value's, or float32.
            initial_value: A constant, a tensor, or a function that makes the tensor within the variable's own
                "Initializer" scope. By default zeros of ``shape``.
            use_resource: A resource variable (VarHandleOp), not a ref variable (VariableV2).
            trainable: Add it to "trainable_variables" too.
            collections: Those that it joins.
            save_slice: The part of a larger variable that it holds.

        Raises:
            InvalidArgumentError: no shape and no initial value, an initial value of another shape or type, or an
                illegal name.
        """
        wanted = None if dtype is None else dtypes.datatype_of(dtype)
        if initial_value is None:
            initial_value = self._zeros_maker(name, shape, DT_FLOAT if wanted is None else wanted)
        with self.name_scope(name) as scope:
            make = self._resource_variable if use_resource else self._ref_variable
            variable = make(scope, initial_value, wanted, shape)
        variable.trainable = trainable
        if save_slice is not None:
            save_slice.shape_and_slice(variable.shape or ())  # refuses a part outside the whole
            variable.save_slice = save_slice
        for collection in collections:
            self.add_to_collection(collection, variable)
        if trainable and TRAINABLE_VARIABLES_COLLECTION not in collections:
            self.add_to_collection(TRAINABLE_VARIABLES_COLLECTION, variable)
        return variable

    def partitioned_variable(
        self,
        name: str,
        shape: Sequence[int],
        dtype: dtypes.DTypeLike = DT_FLOAT,
        *,
        num_shards: int,
        use_resource: bool = True,
        trainable: bool = True,
    ) -> list[Variable]:
        """Add a variable cut along its first axis into "name/part_0", "name/part_1", ... of nearly equal size.

        One checkpoint entry, ``name``, holds all parts.

        Args:
            name: Of the whole, relative to the current scope.
            shape: Of the whole.
            dtype: Of the values.
            num_shards: How many parts; the first ones take the rows that are left over.
            use_resource: As :meth:`variable`.
            trainable: As :meth:`variable`.

        Raises:
            InvalidArgumentError: fewer rows than parts, or an illegal name.
        """
        full = tuple(int(size) for size in shape)
        if not full or not 1 <= num_shards <= full[0]:
            raise InvalidArgumentError(f"variable {name!r}: got {num_shards} parts of shape {list(full)}")
        rows, more = divmod(full[0], num_shards)
        begin = 0
        parts = []
        with self.name_scope(name) as scope:
            for i in range(num_shards):
                size = rows + (i < more)
                part = self.variable(
                    f"part_{i}",
                    (size, *full[1:]),
                    dtype,
                    use_resource=use_resource,
                    trainable=trainable,
                    save_slice=SaveSlice(scope[:-1], full, (begin, *(0,) * (len(full) - 1))),
                )
                parts.append(part)
                begin += size
        return parts

    def global_step(self, *, use_resource: bool = True) -> Variable:
        """Return the variable "global_step" (int64, a scalar), which is made if the graph has none."""
        present = self.get_collection(GLOBAL_STEP_COLLECTION)
        if present:
            return _only_variable(present)
        # At the root, whatever the current scope.
        with self.name_scope(None), self.control_dependencies(None):
            step = self.variable(
                "global_step",
                [],
                DT_INT64,
                use_resource=use_resource,
                trainable=False,
                collections=(VARIABLES_COLLECTION, GLOBAL_STEP_COLLECTION),
            )
        step.aggregation = VARIABLE_AGGREGATION_ONLY_FIRST_REPLICA
        return step

    def _zeros_maker(self, name: str, shape: ShapeLike, dtype: int) -> Callable[[], Tensor]:
        sizes = to_shape(shape)
        known = [size for size in sizes or () if size is not None]
        if sizes is None or len(known) != len(sizes):
            raise InvalidArgumentError(f"variable {name!r}: got shape {shape}, want a known one or an initial value")
        return lambda: self.zeros(known, dtype)

    def _initial(self, value: Any, dtype: int | None) -> Tensor:
        return self.to_tensor(value() if _is_maker(value) else value, dtype, name="initial_value")

    def _resource_variable(self, scope: str, initial_value: Any, dtype: int | None, shape: ShapeLike) -> Variable:
        handle_name = scope[:-1]
        with self.attr_scope("_class", make_attr_value([f"loc:@{handle_name}"], "list(string)")):
            with self.name_scope("Initializer"), self.device(None):
                value = self._initial(initial_value, dtype)
            attrs = {
                "dtype": dtypes.base_datatype(value.dtype),
                "shape": make_tensor_shape(_variable_shape(handle_name, value, shape)),
                "shared_name": handle_name,
                "debug_name": scope,
            }
            handle = self.op("VarHandleOp", attrs=attrs, name=scope)
        with self.name_scope("IsInitialized"):
            self.op("VarIsInitializedOp", [handle.output])
        with (
            self.name_scope("Assign") as assign_scope,
            self.colocate_with(None, ignore_existing=True),
            self.device(handle.device),
        ):
            initializer = self.op("AssignVariableOp", [handle.output, value], name=assign_scope)
        with self.name_scope("Read"), self.device(handle.device):
            read = self.op("ReadVariableOp", [handle.output], attrs={"dtype": attrs["dtype"]})
        return Variable(handle=handle.output, initial_value=value, initializer=initializer, snapshot=read.output)

    def _ref_variable(self, scope: str, initial_value: Any, dtype: int | None, shape: ShapeLike) -> Variable:
        name = scope[:-1]
        if _is_maker(initial_value):
            with self.attr_scope("_class", make_attr_value([f"loc:@{name}"], "list(string)")):
                with self.name_scope("Initializer"), self.device(None):
                    value = self._initial(initial_value, dtype)
                ref = self._ref(scope, value, shape)
        else:
            value = self._initial(initial_value, dtype)
            ref = self._ref(scope, value, shape)
        initializer = self.op("Assign", [ref, value], attrs={"use_locking": True, "validate_shape": True})
        with self.colocate_with(ref):
            read = self.op("Identity", [ref], name="read")
        return Variable(handle=ref, initial_value=value, initializer=initializer, snapshot=read.output)

    def _ref(self, scope: str, value: Tensor, shape: ShapeLike) -> Tensor:
        attrs = {
            "dtype": dtypes.base_datatype(value.dtype),
            "shape": make_tensor_shape(_variable_shape(scope[:-1], value, shape)),
        }
        return self.op("VariableV2", attrs=attrs, name=scope).output


def _is_maker(value: Any) -> bool:
    return callable(value) and not isinstance(value, Tensor | Variable)


def _variable_shape(name: str, value: Tensor, shape: ShapeLike) -> list[int | None] | None:
    """Return the declared shape of a variable: the given one, which the initial value must fit, or the value's."""
    if shape is None:
        return value.shape
    declared = to_shape(shape)
    try:
        merge(declared, value.static_shape)
    except InvalidArgumentError:
        raise InvalidArgumentError(
            f"variable {name!r}: got an initial value of shape {value.shape}, want {list(declared or ())}"
        ) from None
    return None if declared is None else list(declared)


def _only_variable(collection: list[Any]) -> Variable:
    if len(collection) != 1 or not isinstance(collection[0], Variable):
        raise InvalidArgumentError(f"collection {GLOBAL_STEP_COLLECTION!r}: got {collection!r}, want one variable")
    return collection[0]
