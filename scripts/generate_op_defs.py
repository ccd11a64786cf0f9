#!/usr/bin/env python3
"""Write mexport_pb/graph/op_defs.pbtxt, the signatures of the ops that a GraphBuilder knows.

They come from the registry of the installed TensorFlow. Run it after TensorFlow changes or an op joins the list below;
``--check`` writes nothing and exits 1 if the file is not what this script would write.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from google.protobuf import text_format

from mexport_pb._proto import graph_pb2

TARGET = Path(__file__).resolve().parent.parent / "mexport_pb" / "graph" / "op_defs.pbtxt"

MATH = """
Abs Acos Acosh Add AddN AddV2 All Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2 Atanh BatchMatMul
BatchMatMulV2 BatchMatMulV3 Bincount BitwiseAnd BitwiseOr BitwiseXor Bucketize Cast Ceil ClipByValue Cos Cosh Cross
Cumprod Cumsum DenseBincount Div DivNoNan Einsum Equal Erf Erfc Exp Expm1 Floor FloorDiv FloorMod Greater GreaterEqual
Invert IsFinite IsInf IsNan LeftShift Less LessEqual Lgamma LinSpace Log Log1p LogicalAnd LogicalNot LogicalOr MatMul
Max Maximum Mean Min Minimum Mod Mul MulNoNan Neg NextAfter NotEqual Pow Prod Range RealDiv Reciprocal RightShift Rint
Round Rsqrt SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Select SelectV2 Sigmoid Sign Sin Sinh
SparseSegmentMean SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments
SparseSegmentSum SparseSegmentSumWithNumSegments Sqrt Square SquaredDifference Sub Sum Tan Tanh TruncateDiv
TruncateMod UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlogy
"""

NN = """
AvgPool BiasAdd BiasAddV1 Conv2D DepthwiseConv2dNative Elu FusedBatchNorm FusedBatchNormV3 InTopKV2 L2Loss LeakyRelu
LogSoftmax MaxPool Relu Relu6 Selu Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign
SparseSoftmaxCrossEntropyWithLogits TopKV2
"""

ARRAY = """
BatchToSpaceND Bitcast BroadcastArgs BroadcastTo CheckNumerics Concat ConcatOffset ConcatV2 Const DeepCopy Diag
DiagPart DynamicPartition DynamicStitch EnsureShape ExpandDims Fill Gather GatherNd GatherV2 GuaranteeConst Identity
IdentityN InvertPermutation ListDiff LowerBound MatrixBandPart MatrixDiagPartV3 MatrixDiagV3 MirrorPad OneHot OnesLike
Pack Pad PadV2 ParallelConcat ParallelDynamicStitch Placeholder PlaceholderV2 PlaceholderWithDefault PreventGradient
Rank Reshape ReverseSequence ReverseV2 ScatterNd SetSize Shape ShapeN Size Slice Snapshot SpaceToBatchND Split SplitV
Squeeze StopGradient StridedSlice TensorScatterAdd TensorScatterUpdate Tile Transpose Unique UniqueV2 UniqueWithCounts
UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where ZerosLike
"""

SPARSE_AND_RAGGED = """
RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant
SparseConcat SparseCross SparseFillEmptyRows SparseReorder SparseReshape SparseSlice SparseSplit
SparseTensorDenseMatMul SparseToDense
"""

STRING = """
AsString DecodeBase64 DecodeCompressed DecodeRaw EncodeBase64 ReduceJoin RegexFullMatch RegexReplace
StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin StringLength StringLower StringSplit StringSplitV2
StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr
UnsortedSegmentJoin
"""

LOOKUP = """
HashTableV2 InitializeTableFromTextFileV2 InitializeTableV2 LookupTableExportV2 LookupTableFindV2 LookupTableImportV2
LookupTableInsertV2 LookupTableRemoveV2 LookupTableSizeV2 MutableDenseHashTableV2 MutableHashTableOfTensorsV2
MutableHashTableV2
"""

PARSING = """
DecodeCSV DecodeJSONExample DecodeProtoV2 EncodeProto ParseExample ParseExampleV2 ParseSequenceExample
ParseSequenceExampleV2 ParseSingleExample ParseSingleSequenceExample ParseTensor SerializeTensor
"""

CONTROL_FLOW = """
Assert Case ControlTrigger Enter Exit FakeParam If LoopCond Merge NextIteration NoOp PartitionedCall Print PrintV2
RefEnter RefExit RefIdentity RefMerge RefNextIteration RefSelect RefSwitch StatefulPartitionedCall StatelessCase
StatelessIf StatelessWhile Switch SymbolicGradient TensorArrayGatherV3 TensorArrayReadV3 TensorArrayScatterV3
TensorArraySizeV3 TensorArrayV3 TensorArrayWriteV3 TensorListFromTensor TensorListGetItem TensorListReserve
TensorListSetItem TensorListStack Timestamp While
"""

STATE = """
Assign AssignAdd AssignAddVariableOp AssignSub AssignSubVariableOp AssignVariableOp DestroyResourceOp
DisableCopyOnRead IsVariableInitialized ReadVariableOp ResourceApplyAdagrad ResourceApplyAdagradV2 ResourceApplyAdam
ResourceApplyFtrl ResourceApplyFtrlV2 ResourceApplyGradientDescent ResourceGather ResourceGatherNd ResourceScatterAdd
ResourceScatterSub ResourceScatterUpdate ResourceSparseApplyAdagrad ResourceSparseApplyAdagradV2 ScatterAdd ScatterSub
ScatterUpdate VarHandleOp VarIsInitializedOp Variable VariableShape VariableV2
"""

RANDOM = """
RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt StatelessRandomNormal StatelessRandomUniform
StatelessRandomUniformV2 StatelessTruncatedNormal TruncatedNormal
"""

IO = """
MatchingFiles MergeV2Checkpoints ReadFile Restore RestoreSlice RestoreV2 Save SaveSlices SaveV2 ShardedFilename
ShardedFilespec WriteFile
"""

INPUT_PIPELINE = """
BatchDatasetV2 FIFOQueueV2 IteratorGetNext IteratorToStringHandle IteratorV2 MakeIterator MapDataset OneShotIterator
OptimizeDatasetV2 PrefetchDataset QueueCloseV2 QueueDequeueManyV2 QueueDequeueV2 QueueEnqueueManyV2 QueueEnqueueV2
QueueSizeV2 RepeatDataset ShuffleDatasetV3 TFRecordDataset TensorDataset TensorSliceDataset
"""

GROUPS = (
    MATH,
    NN,
    ARRAY,
    SPARSE_AND_RAGGED,
    STRING,
    LOOKUP,
    PARSING,
    CONTROL_FLOW,
    STATE,
    RANDOM,
    IO,
    INPUT_PIPELINE,
)


def op_names() -> list[str]:
    """Return the names of all listed ops, sorted."""
    return sorted(name for group in GROUPS for name in group.split())


def render() -> str:
    """Return the text of the table: an OpList in protobuf's text format, one op after the other, sorted by name.

    Raises:
        SystemExit: An op is listed twice, or TensorFlow does not know it.
    """
    from tensorflow.python.framework import op_def_registry

    names = op_names()
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise SystemExit(f"listed twice: {', '.join(repeated)}")
    parts = ["# Written by scripts/generate_op_defs.py from TensorFlow's registry; do not edit.\n"]
    for name in names:
        registered = op_def_registry.get(name)
        if registered is None:
            raise SystemExit(f"TensorFlow has no op {name!r}")
        op_list = graph_pb2.OpList(op=[graph_pb2.OpDef.FromString(registered.SerializeToString())])
        op_def = op_list.op[0]
        op_def.ClearField("summary")
        op_def.ClearField("description")
        for described in (*op_def.input_arg, *op_def.output_arg, *op_def.attr):
            described.ClearField("description")
        parts.append(text_format.MessageToString(op_list))
    return "".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Write the table, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file differs")
    args = parser.parse_args(argv)
    text = render()
    if args.check:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        print(f"{TARGET}: differs from TensorFlow's registry; run {Path(__file__).name}", file=sys.stderr)
        return 1
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET}: {len(op_names())} ops")
    return 0


if __name__ == "__main__":
    sys.exit(main())
