"""Static shapes of the outputs of nodes, op by op.

An op without a function here gives outputs of unknown rank, which is always right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from mexport_pb._proto.graph_pb2 import AttrValue, NodeDef
from mexport_pb.errors import InvalidArgumentError
from mexport_pb.graph.partition_shapes import PARTITION_SHAPES
from mexport_pb.graph.shapes import (
    broadcast,
    constant_of,
    merge,
    normalise_axis,
    permute,
    product,
    shape_value,
    slice_size,
    with_rank,
)
from mexport_pb.graph.slices import part_shape_of
from mexport_pb.graph.table_shapes import TABLE_SHAPES
from mexport_pb.graph.tensor import Shape, Tensor
from mexport_pb.messages import shape_to_list

__all__ = ["InferenceContext", "infer_shapes"]


class InferenceContext:
    """A node of which the output shapes are wanted.

    Args:
        node: With its attributes; its inputs are not read.
        inputs: The data inputs.
        outputs: How many outputs it has.
    """

    def __init__(self, node: NodeDef, inputs: Sequence[Tensor], outputs: int) -> None:
        self.node = node
        self.inputs = inputs
        self.outputs = outputs

    def shape(self, index: int) -> Shape:
        """The static shape of an input."""
        return self.inputs[index].static_shape

    def attr(self, name: str) -> AttrValue:
        """An attribute."""
        return self.node.attr[name]

    def attr_shape(self, name: str) -> Shape:
        """An attribute of type shape."""
        sizes = shape_to_list(self.node.attr[name].shape)
        return None if sizes is None else tuple(sizes)

    def constant(self, index: int) -> list[int] | None:
        """The integers of an input, flat, if it is a constant."""
        return constant_of(self.inputs[index])

    def value_as_shape(self, index: int) -> Shape:
        """The shape that an input holds as its value, as far as that is known before the graph runs."""
        return shape_value(self.inputs[index])


ShapeFunction = Callable[[InferenceContext], Sequence[Shape]]


def infer_shapes(context: InferenceContext) -> list[Shape]:
    """Return the shape of each output, None where nothing is known.

    Raises:
        InvalidArgumentError: the inputs' shapes cannot go together; the node is named.
    """
    function = _FUNCTIONS.get(context.node.op)
    if function is None:
        return [None] * context.outputs
    try:
        return list(function(context))
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"node {context.node.name!r} ({context.node.op}): {error}") from None


def _same(context: InferenceContext) -> Sequence[Shape]:
    return [context.shape(0)]


def _scalar(context: InferenceContext) -> Sequence[Shape]:
    return [()] * context.outputs


def _from_attr(context: InferenceContext) -> Sequence[Shape]:
    return [context.attr_shape("shape")]


def _const(context: InferenceContext) -> Sequence[Shape]:
    sizes = shape_to_list(context.attr("value").tensor.tensor_shape)
    return [None if sizes is None else tuple(sizes)]


def _broadcast(context: InferenceContext) -> Sequence[Shape]:
    return [broadcast(context.shape(0), context.shape(1))]


def _comparison(context: InferenceContext) -> Sequence[Shape]:
    # Equal and NotEqual may be told to give False instead of an error on shapes that do not go together.
    if not context.attr("incompatible_shape_error").b:
        return [None]
    return _broadcast(context)


def _add_n(context: InferenceContext) -> Sequence[Shape]:
    shape: Shape = None
    for i in range(len(context.inputs)):
        shape = merge(shape, context.shape(i))
    return [shape]


def _select(context: InferenceContext) -> Sequence[Shape]:
    return [merge(context.shape(1), context.shape(2))]


def _select_v2(context: InferenceContext) -> Sequence[Shape]:
    return [broadcast(context.shape(0), broadcast(context.shape(1), context.shape(2)))]


def _matmul(context: InferenceContext) -> Sequence[Shape]:
    left, right = with_rank(context.shape(0), 2), with_rank(context.shape(1), 2)
    if context.attr("transpose_a").b:
        left = left[::-1]
    if context.attr("transpose_b").b:
        right = right[::-1]
    _check_inner(left[1], right[0])
    return [(left[0], right[1])]


def _check_inner(left: int | None, right: int | None) -> None:
    if left is not None and right is not None and left != right:
        raise InvalidArgumentError(f"inner sizes of a product: got {left} and {right}, want equal ones")


def _batch_matmul(context: InferenceContext) -> Sequence[Shape]:
    left, right = context.shape(0), context.shape(1)
    if left is None or right is None:
        return [None]
    if len(left) < 2 or len(right) < 2:
        raise InvalidArgumentError(f"product of matrices: got shapes {list(left)} and {list(right)}, want rank >= 2")
    rows, inner_left = left[-2:][::-1] if context.attr("adj_x").b else left[-2:]
    inner_right, columns = right[-2:][::-1] if context.attr("adj_y").b else right[-2:]
    _check_inner(inner_left, inner_right)
    batch = broadcast(left[:-2], right[:-2])
    return [None if batch is None else (*batch, rows, columns)]


def _bias_add(context: InferenceContext) -> Sequence[Shape]:
    shape, bias = context.shape(0), with_rank(context.shape(1), 1)
    if shape is None or context.attr("data_format").s != b"NHWC":
        return [shape]
    if len(shape) < 2:
        raise InvalidArgumentError(f"bias: got a value of shape {list(shape)}, want rank >= 2")
    return [(*shape[:-1], *(merge(shape[-1:], bias) or ()))]


def _reduction(context: InferenceContext) -> Sequence[Shape]:
    shape, keep = context.shape(0), context.attr("keep_dims").b
    axes = context.constant(1)
    if shape is None:
        return [None]
    if axes is None:
        axes_shape = context.shape(1)
        if axes_shape is not None and len(axes_shape) == 1 and axes_shape[0] is None and not keep:
            # All axes of a tensor whose rank was not known when the graph was made.
            return [None]
        return [(None,) * len(shape) if keep else None]
    reduced = {normalise_axis(axis, len(shape)) for axis in axes}
    if keep:
        return [tuple(1 if i in reduced else size for i, size in enumerate(shape))]
    return [tuple(size for i, size in enumerate(shape) if i not in reduced)]


def _arg_reduction(context: InferenceContext) -> Sequence[Shape]:
    shape, axis = context.shape(0), context.constant(1)
    if shape is None:
        return [None]
    if axis is None:
        return [(None,) * (len(shape) - 1)]
    position = normalise_axis(axis[0], len(shape))
    return [shape[:position] + shape[position + 1 :]]


def _reshape(context: InferenceContext) -> Sequence[Shape]:
    shape, wanted = context.shape(0), context.value_as_shape(1)
    if wanted is None:
        length = context.shape(1)
        return [None if length is None or length[0] is None else (None,) * length[0]]
    elements = product(shape)
    unknown = [i for i, size in enumerate(wanted) if size is None]
    known = product(tuple(size for size in wanted if size is not None))
    if elements is None or known is None:
        return [wanted]
    if not unknown:
        if known != elements:
            raise InvalidArgumentError(f"reshape of {elements} elements: got shape {list(wanted)}")
        return [wanted]
    if len(unknown) > 1:
        return [wanted]
    if known == 0 or elements % known:
        raise InvalidArgumentError(f"reshape of {elements} elements: got shape {list(wanted)}")
    return [tuple(elements // known if size is None else size for size in wanted)]


def _expand_dims(context: InferenceContext) -> Sequence[Shape]:
    shape, axis = context.shape(0), context.constant(1)
    if shape is None:
        return [None]
    if axis is None:
        return [(None,) * (len(shape) + 1)]
    position = normalise_axis(axis[0], len(shape) + 1)
    return [(*shape[:position], 1, *shape[position:])]


def _squeeze(context: InferenceContext) -> Sequence[Shape]:
    shape = context.shape(0)
    if shape is None:
        return [None]
    axes = {normalise_axis(axis, len(shape)) for axis in context.attr("squeeze_dims").list.i}
    for axis in axes:
        if shape[axis] not in (1, None):
            raise InvalidArgumentError(f"squeezed axis {axis}: got size {shape[axis]}, want 1")
    if axes:
        return [tuple(size for i, size in enumerate(shape) if i not in axes)]
    return [None if None in shape else tuple(size for size in shape if size != 1)]


def _concat(context: InferenceContext) -> Sequence[Shape]:
    *parts, axis = context.inputs
    axes = constant_of(axis)
    shapes = [part.static_shape for part in parts]
    ranks = {len(shape) for shape in shapes if shape is not None}
    if not ranks:
        return [None]
    rank = ranks.pop()
    if ranks:
        raise InvalidArgumentError(f"concatenated tensors of different ranks: got {sorted([rank, *ranks])}")
    if axes is None:
        return [(None,) * rank]
    position = normalise_axis(axes[0], rank)
    total: int | None = 0
    before: Shape = None
    for shape in shapes:
        size = None if shape is None else shape[position]
        total = None if total is None or size is None else total + size
        if shape is not None:
            before = merge(before, (*shape[:position], *shape[position + 1 :]))
    if before is None:
        return [None]
    return [(*before[:position], total, *before[position:])]


def _pack(context: InferenceContext) -> Sequence[Shape]:
    shape = _add_n(context)[0]
    if shape is None:
        return [None]
    position = normalise_axis(context.attr("axis").i, len(shape) + 1)
    return [(*shape[:position], len(context.inputs), *shape[position:])]


def _unpack(context: InferenceContext) -> Sequence[Shape]:
    shape = context.shape(0)
    if shape is None:
        return [None] * context.outputs
    position = normalise_axis(context.attr("axis").i, len(shape))
    if shape[position] not in (None, context.outputs):
        raise InvalidArgumentError(f"unpacked axis {position}: got size {shape[position]}, want {context.outputs}")
    return [shape[:position] + shape[position + 1 :]] * context.outputs


def _transpose(context: InferenceContext) -> Sequence[Shape]:
    return [permute(context.shape(0), context.constant(1), context.shape(1))]


def _gather(context: InferenceContext) -> Sequence[Shape]:
    params, indices = context.shape(0), context.shape(1)
    axes = context.constant(2)
    batch_dims = context.attr("batch_dims").i
    if params is None or indices is None:
        return [None]
    if batch_dims < 0:
        batch_dims += len(indices)
    if axes is None:
        return [(None,) * (len(params) + len(indices) - batch_dims - 1)]
    axis = normalise_axis(axes[0], len(params))
    batch = merge(params[:batch_dims], indices[:batch_dims]) or ()
    return [(*batch, *params[batch_dims:axis], *indices[batch_dims:], *params[axis + 1 :])]


def _assign(context: InferenceContext) -> Sequence[Shape]:
    if context.attr("validate_shape").b:
        return [merge(context.shape(0), context.shape(1))]
    return [context.shape(1)]


def _handle_shape(handle: Tensor) -> Shape:
    if handle.op.type != "VarHandleOp":
        return None
    sizes = shape_to_list(handle.op.node_def.attr["shape"].shape)
    return None if sizes is None else tuple(sizes)


def _read_variable(context: InferenceContext) -> Sequence[Shape]:
    return [_handle_shape(context.inputs[0])]


def _resource_gather(context: InferenceContext) -> Sequence[Shape]:
    params, indices = _handle_shape(context.inputs[0]), context.shape(1)
    if params is None or indices is None:
        return [None]
    batch_dims = context.attr("batch_dims").i
    return [(*params[:batch_dims], *indices[batch_dims:], *params[batch_dims + 1 :])]


def _variable_shape(context: InferenceContext) -> Sequence[Shape]:
    shape = _handle_shape(context.inputs[0])
    return [(None if shape is None else len(shape),)]


def _one_hot(context: InferenceContext) -> Sequence[Shape]:
    indices, depth, axis = context.shape(0), context.constant(1), context.attr("axis").i
    if indices is None:
        return [None]
    position = len(indices) if axis == -1 else axis
    return [(*indices[:position], None if depth is None else depth[0], *indices[position:])]


def _shape_of(context: InferenceContext) -> Sequence[Shape]:
    return [(None if tensor.static_shape is None else len(tensor.static_shape),) for tensor in context.inputs]


def _value_as_shape(context: InferenceContext) -> Sequence[Shape]:
    """Fill and random ops: the first input is the shape."""
    shape = context.value_as_shape(0)
    if shape is None:
        length = context.shape(0)
        return [None if length is None or length[0] is None else (None,) * length[0]]
    return [shape]


def _broadcast_to(context: InferenceContext) -> Sequence[Shape]:
    return [context.value_as_shape(1)]


def _split(context: InferenceContext) -> Sequence[Shape]:
    axis, shape = context.constant(0), context.shape(1)
    if shape is None:
        return [None] * context.outputs
    if axis is None:
        return [(None,) * len(shape)] * context.outputs
    position = normalise_axis(axis[0], len(shape))
    size = shape[position]
    if size is not None and size % context.outputs:
        raise InvalidArgumentError(f"split axis {position} of size {size}: got {context.outputs} parts of equal size")
    part = None if size is None else size // context.outputs
    return [(*shape[:position], part, *shape[position + 1 :])] * context.outputs


def _split_v(context: InferenceContext) -> Sequence[Shape]:
    shape, sizes, axis = context.shape(0), context.constant(1), context.constant(2)
    if shape is None:
        return [None] * context.outputs
    if axis is None:
        return [(None,) * len(shape)] * context.outputs
    position = normalise_axis(axis[0], len(shape))
    if sizes is None:
        return [(*shape[:position], None, *shape[position + 1 :])] * context.outputs
    total = shape[position]
    rest = None if total is None else total - sum(size for size in sizes if size >= 0)
    if total is not None and (rest != 0 if -1 not in sizes else rest is not None and rest < 0):
        raise InvalidArgumentError(f"split axis {position} of size {total}: got sizes {sizes}")
    parts = [rest if size < 0 else size for size in sizes]
    return [(*shape[:position], part, *shape[position + 1 :]) for part in parts]


def _slice(context: InferenceContext) -> Sequence[Shape]:
    shape, begins, sizes = context.shape(0), context.constant(1), context.constant(2)
    if shape is None:
        lengths = [length[0] for length in (context.shape(1), context.shape(2)) if length is not None and length[0]]
        return [(None,) * lengths[0] if lengths else None]
    if sizes is None:
        return [(None,) * len(shape)]
    result: list[int | None] = []
    for axis, (total, size) in enumerate(zip(shape, sizes, strict=True)):
        begin = None if begins is None else begins[axis]
        if size >= 0:
            if total is not None and begin is not None and begin + size > total:
                raise InvalidArgumentError(f"slice of axis {axis}: got [{begin}, {begin + size}) of {total}")
            result.append(size)
        else:
            result.append(None if total is None or begin is None else total - begin)
    return [tuple(result)]


def _strided_slice(context: InferenceContext) -> Sequence[Shape]:
    shape, steps = context.shape(0), _packed(context.inputs[3])
    if shape is None or steps is None:
        return [None]
    bounds = [_packed(context.inputs[i]) for i in (1, 2)]
    # One unknown bound leaves the sizes of all axes open that are not taken whole.
    begins: Sequence[int | None] = [None] * len(steps)
    ends: Sequence[int | None] = begins
    if bounds[0] is not None and bounds[1] is not None:
        begins, ends = bounds[0], bounds[1]
    masks = {name: context.attr(f"{name}_mask").i for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    entries = range(len(begins))
    new = {i for i in entries if masks["new_axis"] >> i & 1}
    ellipsis = {i for i in entries if masks["ellipsis"] >> i & 1}
    sliced = len(begins) - len(new | ellipsis)
    if sliced > len(shape) or not len(begins) == len(ends) == len(steps):
        raise InvalidArgumentError(f"slice of a tensor of rank {len(shape)}: got {sliced} axes")
    result: list[int | None] = []
    axis = 0
    for i, (first, last, step) in enumerate(zip(begins, ends, steps, strict=True)):
        if i in ellipsis:
            result += shape[axis : axis + len(shape) - sliced]
            axis += len(shape) - sliced
        elif i in new:
            result.append(1)
        else:
            if not masks["shrink_axis"] >> i & 1:
                begin = None if masks["begin"] >> i & 1 else first
                end = None if masks["end"] >> i & 1 else last
                known = first is not None or (masks["begin"] & masks["end"]) >> i & 1
                result.append(slice_size(shape[axis], begin, end, step) if known else None)
            axis += 1
    return [(*result, *shape[axis:])]


def _packed(tensor: Tensor) -> list[int] | None:
    """Return the integers of a constant vector, also of one that is packed of constants."""
    if tensor.op.type != "Pack":
        return constant_of(tensor)
    parts = [constant_of(one) for one in tensor.op.inputs]
    return None if any(part is None for part in parts) else [part[0] for part in parts if part]


def _range(context: InferenceContext) -> Sequence[Shape]:
    bounds = [constant_of(tensor, integers_only=False) for tensor in context.inputs]
    if any(bound is None for bound in bounds):
        return [(None,)]
    start, limit, delta = (bound[0] for bound in bounds if bound is not None)
    if delta == 0:
        raise InvalidArgumentError("step of a range: got 0")
    return [(max(0, int(np.ceil((limit - start) / delta))),)]


def _tile(context: InferenceContext) -> Sequence[Shape]:
    shape, multiples = context.shape(0), context.constant(1)
    if shape is None:
        return [None]
    if multiples is None:
        return [(None,) * len(shape)]
    if len(multiples) != len(shape):
        raise InvalidArgumentError(f"multiples of a tensor of rank {len(shape)}: got {multiples}")
    return [tuple(None if size is None else size * times for size, times in zip(shape, multiples, strict=True))]


def _where(context: InferenceContext) -> Sequence[Shape]:
    shape = context.shape(0)
    return [(None, None if shape is None else len(shape))]


def _string_join(context: InferenceContext) -> Sequence[Shape]:
    shape: Shape = ()
    for i in range(len(context.inputs)):
        one = context.shape(i)
        if one is None:
            return [None]
        if one != ():
            shape = one if shape == () else merge(shape, one)
    return [shape]


def _unique(context: InferenceContext) -> Sequence[Shape]:
    return [(None,), *([context.shape(0)] * (context.outputs - 1))]


def _top_k(context: InferenceContext) -> Sequence[Shape]:
    shape, count = context.shape(0), context.constant(1)
    if shape is None:
        return [None] * 2
    return [(*shape[:-1], None if count is None else count[0])] * 2


def _segments(context: InferenceContext) -> Sequence[Shape]:
    """Rows pooled into as many as the ids say, which is not known."""
    shape = context.shape(0)
    return [None if shape is None else (None, *shape[1:])]


def _counted_segments(context: InferenceContext) -> Sequence[Shape]:
    shape = context.shape(0)
    count = context.constant(len(context.inputs) - 1)
    return [None if shape is None else (None if count is None else count[0], *shape[1:])]


def _unsorted_segments(context: InferenceContext) -> Sequence[Shape]:
    shape, ids, count = context.shape(0), context.shape(1), context.constant(2)
    if shape is None or ids is None:
        return [None]
    merge(shape[: len(ids)], ids)
    return [(None if count is None else count[0], *shape[len(ids) :])]


def _string_split(context: InferenceContext) -> Sequence[Shape]:
    return [(None, 2), (None,), (2,)]


def _parse_example(context: InferenceContext) -> Sequence[Shape]:
    batch = context.shape(0)
    sparse = context.attr("num_sparse").i
    rank = None if batch is None else len(batch) + 1
    shapes: list[Shape] = [(None, rank)] * sparse + [(None,)] * sparse + [(rank,)] * sparse
    for message in context.attr("dense_shapes").list.shape:
        sizes = shape_to_list(message)
        shapes.append(None if batch is None or sizes is None else (*batch, *sizes))
    ragged = len(context.attr("ragged_value_types").list.type)
    rows = None if not batch or batch[0] is None else batch[0] + 1
    return [*shapes, *[(None,)] * ragged, *[(rows,)] * ragged]


def _identity_n(context: InferenceContext) -> Sequence[Shape]:
    return [tensor.static_shape for tensor in context.inputs]


def _restore(context: InferenceContext) -> Sequence[Shape]:
    """The shape of a slice is in its specification: "full sizes" and "begin,size:begin,size"."""
    specs = constant_strings(context.inputs[2])
    if specs is None:
        return [None] * context.outputs
    return [part_shape_of(spec) if spec else None for spec in specs]


def constant_strings(tensor: Tensor) -> list[str] | None:
    """The strings of a constant, None for another tensor."""
    if tensor.op.type != "Const":
        return None
    return [one.decode() for one in tensor.op.node_def.attr["value"].tensor.string_val]


_GROUPS: Final[dict[ShapeFunction, str]] = {
    _same: """Abs Acos Acosh Asin Asinh AssignAdd AssignSub Atan Atanh Cast Ceil CheckNumerics ClipByValue Cos Cosh
        Cumprod Cumsum Elu Erf Erfc Exp Expm1 Floor Identity Invert IsFinite IsInf IsNan LeakyRelu Lgamma Log Log1p
        LogSoftmax LogicalNot Neg OnesLike PreventGradient Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin
        Sinh Snapshot Softmax Softplus Softsign Sqrt Square StopGradient Tan Tanh ZerosLike StringToHashBucket
        StringToHashBucketFast StringToHashBucketStrong StringToNumber StringLower StringUpper StringStrip StringLength
        AsString RegexReplace StaticRegexReplace StaticRegexFullMatch EncodeBase64 DecodeBase64 ReverseV2
        RefIdentity DeepCopy Print""",
    _scalar: """L2Loss Rank Size VarHandleOp VarIsInitializedOp IsVariableInitialized ShardedFilename ShardedFilespec
        HashTableV2 MutableHashTableV2 MutableHashTableOfTensorsV2 MutableDenseHashTableV2 LookupTableSizeV2 IteratorV2
        SerializeTensor ReadFile LoopCond""",
    _from_attr: "Placeholder PlaceholderWithDefault PlaceholderV2 VariableV2 Variable EnsureShape",
    _const: "Const",
    _broadcast: """Add AddV2 Atan2 BitwiseAnd BitwiseOr BitwiseXor Div DivNoNan FloorDiv FloorMod Greater GreaterEqual
        Less LessEqual LogicalAnd LogicalOr Maximum Minimum Mod Mul MulNoNan Pow RealDiv SquaredDifference Sub
        TruncateDiv TruncateMod Xdivy Xlogy LeftShift RightShift""",
    _comparison: "Equal NotEqual",
    _add_n: "AddN",
    _select: "Select",
    _select_v2: "SelectV2",
    _matmul: "MatMul",
    _batch_matmul: "BatchMatMul BatchMatMulV2 BatchMatMulV3",
    _bias_add: "BiasAdd",
    _reduction: "Sum Mean Max Min Prod All Any",
    _arg_reduction: "ArgMax ArgMin",
    _reshape: "Reshape",
    _expand_dims: "ExpandDims",
    _squeeze: "Squeeze",
    _concat: "ConcatV2",
    _pack: "Pack",
    _unpack: "Unpack",
    _transpose: "Transpose",
    _gather: "GatherV2",
    _assign: "Assign",
    _read_variable: "ReadVariableOp",
    _resource_gather: "ResourceGather",
    _variable_shape: "VariableShape",
    _one_hot: "OneHot",
    _shape_of: "Shape ShapeN",
    _value_as_shape: "Fill RandomUniform RandomStandardNormal TruncatedNormal RandomUniformInt",
    _broadcast_to: "BroadcastTo",
    _split: "Split",
    _split_v: "SplitV",
    _slice: "Slice",
    _strided_slice: "StridedSlice",
    _range: "Range",
    _tile: "Tile",
    _where: "Where",
    _string_join: "StringJoin",
    _unique: "Unique UniqueWithCounts",
    _top_k: "TopKV2",
    _identity_n: "IdentityN",
    _segments: """SegmentSum SegmentMean SegmentMax SegmentMin SegmentProd SparseSegmentSum SparseSegmentMean
        SparseSegmentSqrtN""",
    _counted_segments: "SparseSegmentSumWithNumSegments SparseSegmentMeanWithNumSegments "
    "SparseSegmentSqrtNWithNumSegments",
    _unsorted_segments: "UnsortedSegmentSum UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd",
    _string_split: "StringSplit StringSplitV2",
    _parse_example: "ParseExampleV2",
    _restore: "RestoreV2",
}

_FUNCTIONS: Final[dict[str, ShapeFunction]] = {
    **{op: function for function, ops in _GROUPS.items() for op in ops.split()},
    **PARTITION_SHAPES,
    **TABLE_SHAPES,
}
