"""mexport_pb: TensorFlow SavedModels for serving, written as protobufs and bytes from a training checkpoint.

The public names are here and nowhere else; each is loaded when it is first used, so that ``import mexport_pb`` costs
next to nothing. It loads no TensorFlow: only :mod:`mexport_pb.runtime` does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mexport_pb.bundle import (
        BundleItem as BundleItem,
        BundleReader as BundleReader,
        BundleWriter as BundleWriter,
        CopyReport as CopyReport,
        copy_bundle as copy_bundle,
        copy_to_shards as copy_to_shards,
        merge_bundles as merge_bundles,
    )
    from mexport_pb.check import (
        Problem as Problem,
        check_meta_graph as check_meta_graph,
    )
    from mexport_pb.errors import (
        BundleCrcError as BundleCrcError,
        BundleError as BundleError,
        DataError as DataError,
        InvalidArgumentError as InvalidArgumentError,
        MexportError as MexportError,
        MismatchError as MismatchError,
        MissingVariableError as MissingVariableError,
        PublishError as PublishError,
        RecordCompressionError as RecordCompressionError,
        RecordDataCrcError as RecordDataCrcError,
        RecordError as RecordError,
        RecordLengthCrcError as RecordLengthCrcError,
        RecordTooLargeError as RecordTooLargeError,
        RecordTruncatedError as RecordTruncatedError,
        SavedModelError as SavedModelError,
        TableError as TableError,
        UnsupportedError as UnsupportedError,
        ValidationError as ValidationError,
        VersionExistsError as VersionExistsError,
    )
    from mexport_pb.export import (
        BaseExporter as BaseExporter,
        CheckReport as CheckReport,
        ClassificationOutput as ClassificationOutput,
        EstimatorSpec as EstimatorSpec,
        ExportContext as ExportContext,
        ExportMode as ExportMode,
        GraphSource as GraphSource,
        ModeKeys as ModeKeys,
        PredictOutput as PredictOutput,
        ProtobufSource as ProtobufSource,
        RegressionOutput as RegressionOutput,
        RunConfig as RunConfig,
        SavedModelSignature as SavedModelSignature,
        ServingInputReceiver as ServingInputReceiver,
        SignatureSpec as SignatureSpec,
        StandaloneExporter as StandaloneExporter,
        check_saved_model as check_saved_model,
        checkpoint_step as checkpoint_step,
        enter_export_mode as enter_export_mode,
        export_meta_graph as export_meta_graph,
        get_current_export_ctx as get_current_export_ctx,
        get_current_export_mode as get_current_export_mode,
        is_exporting as is_exporting,
        is_exporting_distributed as is_exporting_distributed,
        is_exporting_standalone as is_exporting_standalone,
        latest_checkpoint as latest_checkpoint,
        parse_signature as parse_signature,
        write_saved_model as write_saved_model,
    )
    from mexport_pb.graph import (
        FixedLenFeature as FixedLenFeature,
        FixedLenSequenceFeature as FixedLenSequenceFeature,
        GraphBuilder as GraphBuilder,
        LookupTable as LookupTable,
        Operation as Operation,
        RaggedFeature as RaggedFeature,
        RaggedTensor as RaggedTensor,
        SaveSlice as SaveSlice,
        SparseTensor as SparseTensor,
        Tensor as Tensor,
        Variable as Variable,
        VarLenFeature as VarLenFeature,
        add_main_op as add_main_op,
        add_saver as add_saver,
        clear_devices as clear_devices,
        freeze as freeze,
        get_default_graph as get_default_graph,
        prune_to_signatures as prune_to_signatures,
        set_main_op as set_main_op,
        strip_default_attrs as strip_default_attrs,
        unsaved_variables as unsaved_variables,
    )
    from mexport_pb.messages import (
        CLASSIFY_METHOD as CLASSIFY_METHOD,
        DEFAULT_SIGNATURE as DEFAULT_SIGNATURE,
        PREDICT_METHOD as PREDICT_METHOD,
        REGRESS_METHOD as REGRESS_METHOD,
        SERVING_TAG as SERVING_TAG,
        make_asset_file_def as make_asset_file_def,
        make_meta_graph_def as make_meta_graph_def,
        make_prediction_log as make_prediction_log,
        make_saved_model as make_saved_model,
        make_signature_def as make_signature_def,
        make_tensor_info as make_tensor_info,
        make_tensor_proto as make_tensor_proto,
        make_tensor_shape as make_tensor_shape,
        read_meta_graph as read_meta_graph,
        read_saved_model as read_saved_model,
        tensor_proto_to_array as tensor_proto_to_array,
    )
    from mexport_pb.record import (
        RecordBatch as RecordBatch,
        RecordReader as RecordReader,
        RecordWriter as RecordWriter,
        read_records as read_records,
        write_records as write_records,
    )
    from mexport_pb.table import (
        OptimizerState as OptimizerState,
        TableDump as TableDump,
        iter_table as iter_table,
        read_multi_table as read_multi_table,
        read_table as read_table,
        write_multi_table as write_multi_table,
        write_table as write_table,
    )

__version__ = "0.1.0"

# The room of each name. The block above says the same to type checkers; a test compares the two.
_ROOMS = {
    "bundle": (
        "BundleItem",
        "BundleReader",
        "BundleWriter",
        "CopyReport",
        "copy_bundle",
        "copy_to_shards",
        "merge_bundles",
    ),
    "check": (
        "Problem",
        "check_meta_graph",
    ),
    "errors": (
        "BundleCrcError",
        "BundleError",
        "DataError",
        "InvalidArgumentError",
        "MexportError",
        "MismatchError",
        "MissingVariableError",
        "PublishError",
        "RecordCompressionError",
        "RecordDataCrcError",
        "RecordError",
        "RecordLengthCrcError",
        "RecordTooLargeError",
        "RecordTruncatedError",
        "SavedModelError",
        "TableError",
        "UnsupportedError",
        "ValidationError",
        "VersionExistsError",
    ),
    "export": (
        "BaseExporter",
        "CheckReport",
        "ClassificationOutput",
        "EstimatorSpec",
        "ExportContext",
        "ExportMode",
        "GraphSource",
        "ModeKeys",
        "PredictOutput",
        "ProtobufSource",
        "RegressionOutput",
        "RunConfig",
        "SavedModelSignature",
        "ServingInputReceiver",
        "SignatureSpec",
        "StandaloneExporter",
        "check_saved_model",
        "checkpoint_step",
        "enter_export_mode",
        "export_meta_graph",
        "get_current_export_ctx",
        "get_current_export_mode",
        "is_exporting",
        "is_exporting_distributed",
        "is_exporting_standalone",
        "latest_checkpoint",
        "parse_signature",
        "write_saved_model",
    ),
    "graph": (
        "FixedLenFeature",
        "FixedLenSequenceFeature",
        "GraphBuilder",
        "LookupTable",
        "Operation",
        "RaggedFeature",
        "RaggedTensor",
        "SaveSlice",
        "SparseTensor",
        "Tensor",
        "VarLenFeature",
        "Variable",
        "add_main_op",
        "add_saver",
        "clear_devices",
        "freeze",
        "get_default_graph",
        "prune_to_signatures",
        "set_main_op",
        "strip_default_attrs",
        "unsaved_variables",
    ),
    "messages": (
        "CLASSIFY_METHOD",
        "DEFAULT_SIGNATURE",
        "PREDICT_METHOD",
        "REGRESS_METHOD",
        "SERVING_TAG",
        "make_asset_file_def",
        "make_meta_graph_def",
        "make_prediction_log",
        "make_saved_model",
        "make_signature_def",
        "make_tensor_info",
        "make_tensor_proto",
        "make_tensor_shape",
        "read_meta_graph",
        "read_saved_model",
        "tensor_proto_to_array",
    ),
    "record": (
        "RecordBatch",
        "RecordReader",
        "RecordWriter",
        "read_records",
        "write_records",
    ),
    "table": (
        "OptimizerState",
        "TableDump",
        "iter_table",
        "read_multi_table",
        "read_table",
        "write_multi_table",
        "write_table",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *_ROOM_OF]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
