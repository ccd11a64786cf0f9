"""Add the nodes that save and restore a graph's variables: those of ``tf.compat.v1.train.Saver(sharded=True)``.

docs/formats/saver.md describes them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack

from google.protobuf.message import Message

from mexport_pb import dtypes
from mexport_pb._proto.graph_pb2 import NodeDef
from mexport_pb._proto.saved_model_pb2 import MetaGraphDef
from mexport_pb._proto.saver_pb2 import SaverDef
from mexport_pb._proto.tensor_pb2 import DT_INT32, DT_RESOURCE
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.builder import GraphBuilder
from mexport_pb.graph.devices import canonical_device, on_cpu0
from mexport_pb.graph.graph_variables import GraphVariable, find_variables
from mexport_pb.graph.index import NodeIndex
from mexport_pb.graph.names import taken_names
from mexport_pb.graph.strip import refresh_op_list, strip_nodes
from mexport_pb.graph.tensor import Operation, Shape, Tensor
from mexport_pb.messages import to_message
from mexport_pb.messages.op_defs import OpDefs

__all__ = ["SAVER_SCOPE", "add_saver"]

SAVER_SCOPE = "save"
"""The first saver's name scope; later ones are "save_1", ..."""

_MAX_TO_KEEP = 5
_KEEP_EVERY_N_HOURS = 10000.0


def add_saver(
    meta_graph: Message, *, variables: Collection[str] | None = None, names_in_use: Iterable[str] | None = None
) -> MetaGraphDef:
    """Return a copy with the nodes and the SaverDef that save and restore its variables, one shard for each device.

    Variables are those of the collection ``variables``; without one, those of the graph's nodes. A graph without
    variables gets no saver, and loses one that it had. Another saver's nodes stay, and the new ones get another scope.

    Args:
        meta_graph: A MetaGraphDef.
        variables: Names of the nodes of the variables to save; None means all of them. Variables of the graph that are
            left out get their values elsewhere, or none: :func:`unsaved_variables` lists the latter.
        names_in_use: Names beside those of nodes that new nodes and scopes may not take; None means all scopes that the
            nodes are in. A graph's maker knows better: scopes may be empty, and those of imported nodes are free.

    Raises:
        InvalidArgumentError: two variables have one key, a variable is not in the graph, ``variables`` names one that
            the graph has not, or ``names_in_use`` are no strings.
        SavedModelError: the collection ``variables`` is damaged.
    """
    copy = to_message(meta_graph, MetaGraphDef)
    copy.ClearField("saver_def")
    index = NodeIndex(copy.graph_def.node)
    found = find_variables(copy, index)
    if variables is not None:
        found = _chosen(found, variables)
    if not found:
        return copy
    graph = GraphBuilder(names_in_use=taken_names(index.nodes, names_in_use))
    writer = _SaverWriter(graph, _by_device(_in_saving_order(found)))
    with graph.name_scope(SAVER_SCOPE):
        saver_def = writer.write()
    nodes = graph.to_graph_def().node
    if copy.meta_info_def.stripped_default_attrs:
        strip_nodes(nodes, OpDefs())
    copy.graph_def.node.extend(nodes)
    copy.saver_def.CopyFrom(saver_def)
    refresh_op_list(copy)
    return copy


def _chosen(found: list[GraphVariable], names: Collection[str]) -> list[GraphVariable]:
    if isinstance(names, str | bytes):
        raise InvalidArgumentError(f"variables: got {names!r}, want a list of names")
    present = [variable.name for variable in found]
    unknown = sorted(set(names).difference(present))
    if unknown:
        near = difflib.get_close_matches(unknown[0], present)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise InvalidArgumentError(f"variables: got {unknown[0]!r}, want names of the graph's variables{hint}")
    return [variable for variable in found if variable.name in names]


def _in_saving_order(variables: list[GraphVariable]) -> list[GraphVariable]:
    """Sort by key; parts of one key by their names with ":0", so that part_10 comes before part_1."""
    keys: dict[str, bool] = {}
    names: set[str] = set()
    for variable in variables:
        partitioned = bool(variable.shape_and_slice)
        if variable.name in names or keys.setdefault(variable.key, partitioned) != partitioned:
            raise InvalidArgumentError(f"two variables have the key {variable.key!r}")
        if not partitioned and variable.key in names:
            raise InvalidArgumentError(f"two variables have the key {variable.key!r}")
        names.add(variable.name)
    return sorted(variables, key=lambda variable: (variable.key, f"{variable.name}:0"))


def _by_device(variables: list[GraphVariable]) -> list[tuple[str, list[GraphVariable]]]:
    groups: dict[str, list[GraphVariable]] = {}
    for variable in variables:
        groups.setdefault(canonical_device(_device(variable)), []).append(variable)
    return sorted(groups.items())


def _reads_anew(variable: GraphVariable) -> bool:
    """True for a resource variable that is saved by a read of the saver's own."""
    return variable.is_resource and (bool(variable.shape_and_slice) or variable.read is None)


def _device(variable: GraphVariable) -> str:
    """Return the device of the tensor that is saved."""
    if variable.is_resource and variable.read is not None and not _reads_anew(variable):
        return variable.read.device
    return variable.node.device


class _SaverWriter:
    def __init__(self, graph: GraphBuilder, groups: list[tuple[str, list[GraphVariable]]]) -> None:
        self.graph = graph
        self.groups = groups

    def write(self) -> SaverDef:
        graph = self.graph
        filename = graph.op("PlaceholderWithDefault", ["model"], attrs={"shape": []}, name="filename")
        prefix = graph.op("PlaceholderWithDefault", [filename.output], attrs={"shape": []}, name="Const").output
        saved = self._write_save(prefix)
        restores = [self._write_restore(prefix, device, variables) for device, variables in self.groups]
        restore_all = graph.group(*restores, name="restore_all")
        return SaverDef(
            filename_tensor_name=prefix.name,
            save_tensor_name=saved.name,
            restore_op_name=restore_all.name,
            max_to_keep=_MAX_TO_KEEP,
            sharded=True,
            keep_checkpoint_every_n_hours=_KEEP_EVERY_N_HOURS,
            version=SaverDef.V2,
        )

    def _write_save(self, prefix: Tensor) -> Tensor:
        graph = self.graph
        with graph.device("/device:CPU:*"):
            # A folder beside the target, or on S3, which cannot rename, a suffix.
            on_s3 = graph.op("StaticRegexFullMatch", [prefix], attrs={"pattern": "^s3://.*"}).output
            suffix = graph.op("Select", [on_s3, graph.const(".part"), graph.const("_temp/part")]).output
            temporary = graph.string_join([prefix, suffix])
        num_shards = graph.const(len(self.groups), DT_INT32, name="num_shards")
        files, saves = [], []
        for shard, (device, variables) in enumerate(self.groups):
            with graph.device(on_cpu0(device)):
                file = graph.op("ShardedFilename", [temporary, shard, num_shards]).output
                tensors = [self._value(variable) for variable in variables]
                save = graph.op("SaveV2", [file, _keys(variables), _slices(variables), tensors])
                with (
                    graph.name_scope("control_dependency") as scope,
                    graph.colocate_with(file),
                    graph.control_dependencies([save]),
                ):
                    saves.append(graph.identity(file, name=scope))
                files.append(file)
        with graph.control_dependencies(saves), graph.device(on_cpu0(self.groups[-1][0])):
            merge = graph.op("MergeV2Checkpoints", [files, prefix], attrs={"delete_old_dirs": True})
            with graph.control_dependencies([merge]):
                return graph.identity(prefix)

    def _value(self, variable: GraphVariable) -> Tensor:
        """Return the tensor to save."""
        graph = self.graph
        if not variable.is_resource:
            if not variable.shape_and_slice or variable.read is None:
                return self._ref(variable)
            return self._output_of(variable.read, variable.dtype, variable.shape)
        if variable.read is not None and not _reads_anew(variable):
            return self._output_of(variable.read, variable.dtype, variable.shape)
        handle = self._handle(variable)
        with graph.device(variable.node.device):
            with graph.name_scope("Read"), ExitStack() as placed:
                if variable.caching_device is not None:
                    placed.enter_context(graph.device(None))
                    placed.enter_context(graph.device(variable.caching_device))
                graph.op("DisableCopyOnRead", [handle])
                attrs = {"dtype": variable.dtype}
                read = graph.op("ReadVariableOp", [handle], attrs=attrs, shapes=[variable.shape]).output
            value = graph.identity(read)
            with graph.device("/device:CPU:0"):
                return graph.identity(value)

    def _write_restore(self, prefix: Tensor, device: str, variables: Sequence[GraphVariable]) -> Operation:
        graph = self.graph
        with graph.device(device):
            with graph.device("/device:CPU:0"):
                attrs = {"dtypes": [variable.dtype for variable in variables]}
                restore = graph.op("RestoreV2", [prefix, _keys(variables), _slices(variables)], attrs=attrs)
            assigns = [
                self._assign(variable, value) for variable, value in zip(variables, restore.outputs, strict=True)
            ]
            return graph.group(*assigns, name="restore_shard")

    def _assign(self, variable: GraphVariable, value: Tensor) -> Operation:
        graph = self.graph
        if variable.is_resource:
            with graph.device(_device(variable)):
                copied = graph.identity(value)
                return graph.op("AssignVariableOp", [self._handle(variable), copied])
        known = variable.shape is not None and None not in variable.shape
        attrs = {"use_locking": True, "validate_shape": known}
        return graph.op("Assign", [self._ref(variable), value], attrs=attrs)

    def _handle(self, variable: GraphVariable) -> Tensor:
        return self._output_of(variable.node, DT_RESOURCE, ())

    def _ref(self, variable: GraphVariable) -> Tensor:
        return self._output_of(variable.node, dtypes.ref_datatype(variable.dtype), variable.shape)

    def _output_of(self, node: NodeDef, dtype: int, shape: Shape) -> Tensor:
        # Operations are on cycles: the node itself would hold its whole graph's memory until these are collected.
        copy = NodeDef()
        copy.CopyFrom(node)
        return self.graph.refer_to(copy, [dtype], [shape]).output


def _keys(variables: Iterable[GraphVariable]) -> list[str]:
    return [variable.key for variable in variables]


def _slices(variables: Iterable[GraphVariable]) -> list[str]:
    return [variable.shape_and_slice for variable in variables]
