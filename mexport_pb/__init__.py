"""mexport_pb: TensorFlow SavedModels for serving, written as protobufs and bytes from a training checkpoint.

The public names are here and nowhere else; each is loaded when it is first used, so that ``import mexport_pb`` costs
next to nothing. It loads no TensorFlow: only :mod:`mexport_pb.runtime` does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mexport_pb.bundle import (
        BundleItem as BundleItem,
    )
    from mexport_pb.bundle import (
        BundleReader as BundleReader,
    )
    from mexport_pb.bundle import (
        BundleWriter as BundleWriter,
    )
    from mexport_pb.bundle import (
        CopyReport as CopyReport,
    )
    from mexport_pb.bundle import (
        copy_bundle as copy_bundle,
    )
    from mexport_pb.bundle import (
        copy_to_shards as copy_to_shards,
    )
    from mexport_pb.bundle import (
        merge_bundles as merge_bundles,
    )
    from mexport_pb.check import (
        Problem as Problem,
    )
    from mexport_pb.check import (
        check_meta_graph as check_meta_graph,
    )
    from mexport_pb.errors import (
        BundleCrcError as BundleCrcError,
    )
    from mexport_pb.errors import (
        BundleError as BundleError,
    )
    from mexport_pb.errors import (
        DataError as DataError,
    )
    from mexport_pb.errors import (
        InvalidArgumentError as InvalidArgumentError,
    )
    from mexport_pb.errors import (
        MexportError as MexportError,
    )
    from mexport_pb.errors import (
        MismatchError as MismatchError,
    )
    from mexport_pb.errors import (
        MissingVariableError as MissingVariableError,
    )
    from mexport_pb.errors import (
        PublishError as PublishError,
    )
    from mexport_pb.errors import (
        RecordCompressionError as RecordCompressionError,
    )
    from mexport_pb.errors import (
        RecordDataCrcError as RecordDataCrcError,
    )
    from mexport_pb.errors import (
        RecordError as RecordError,
    )
    from mexport_pb.errors import (
        RecordLengthCrcError as RecordLengthCrcError,
    )
    from mexport_pb.errors import (
        RecordTooLargeError as RecordTooLargeError,
    )
    from mexport_pb.errors import (
        RecordTruncatedError as RecordTruncatedError,
    )
    from mexport_pb.errors import (
        SavedModelError as SavedModelError,
    )
    from mexport_pb.errors import (
        UnsupportedError as UnsupportedError,
    )
    from mexport_pb.errors import (
        ValidationError as ValidationError,
    )
    from mexport_pb.errors import (
        VersionExistsError as VersionExistsError,
    )
    from mexport_pb.export import (
        BaseExporter as BaseExporter,
    )
    from mexport_pb.export import (
        CheckReport as CheckReport,
    )
    from mexport_pb.export import (
        ClassificationOutput as ClassificationOutput,
    )
    from mexport_pb.export import (
        EstimatorSpec as EstimatorSpec,
    )
    from mexport_pb.export import (
        ExportContext as ExportContext,
    )
    from mexport_pb.export import (
        ExportMode as ExportMode,
    )
    from mexport_pb.export import (
        GraphSource as GraphSource,
    )
    from mexport_pb.export import (
        ModeKeys as ModeKeys,
    )
    from mexport_pb.export import (
        PredictOutput as PredictOutput,
    )
    from mexport_pb.export import (
        ProtobufSource as ProtobufSource,
    )
    from mexport_pb.export import (
        RegressionOutput as RegressionOutput,
    )
    from mexport_pb.export import (
        RunConfig as RunConfig,
    )
    from mexport_pb.export import (
        SavedModelSignature as SavedModelSignature,
    )
    from mexport_pb.export import (
        ServingInputReceiver as ServingInputReceiver,
    )
    from mexport_pb.export import (
        SignatureSpec as SignatureSpec,
    )
    from mexport_pb.export import (
        StandaloneExporter as StandaloneExporter,
    )
    from mexport_pb.export import (
        check_saved_model as check_saved_model,
    )
    from mexport_pb.export import (
        checkpoint_step as checkpoint_step,
    )
    from mexport_pb.export import (
        enter_export_mode as enter_export_mode,
    )
    from mexport_pb.export import (
        export_meta_graph as export_meta_graph,
    )
    from mexport_pb.export import (
        get_current_export_ctx as get_current_export_ctx,
    )
    from mexport_pb.export import (
        get_current_export_mode as get_current_export_mode,
    )
    from mexport_pb.export import (
        is_exporting as is_exporting,
    )
    from mexport_pb.export import (
        is_exporting_distributed as is_exporting_distributed,
    )
    from mexport_pb.export import (
        is_exporting_standalone as is_exporting_standalone,
    )
    from mexport_pb.export import (
        latest_checkpoint as latest_checkpoint,
    )
    from mexport_pb.export import (
        parse_signature as parse_signature,
    )
    from mexport_pb.export import (
        write_saved_model as write_saved_model,
    )
    from mexport_pb.graph import (
        GraphBuilder as GraphBuilder,
    )
    from mexport_pb.graph import (
        Operation as Operation,
    )
    from mexport_pb.graph import (
        Tensor as Tensor,
    )
    from mexport_pb.graph import (
        Variable as Variable,
    )
    from mexport_pb.graph import (
        add_main_op as add_main_op,
    )
    from mexport_pb.graph import (
        add_saver as add_saver,
    )
    from mexport_pb.graph import (
        clear_devices as clear_devices,
    )
    from mexport_pb.graph import (
        get_default_graph as get_default_graph,
    )
    from mexport_pb.graph import (
        prune_to_signatures as prune_to_signatures,
    )
    from mexport_pb.graph import (
        strip_default_attrs as strip_default_attrs,
    )
    from mexport_pb.messages import (
        CLASSIFY_METHOD as CLASSIFY_METHOD,
    )
    from mexport_pb.messages import (
        DEFAULT_SIGNATURE as DEFAULT_SIGNATURE,
    )
    from mexport_pb.messages import (
        PREDICT_METHOD as PREDICT_METHOD,
    )
    from mexport_pb.messages import (
        REGRESS_METHOD as REGRESS_METHOD,
    )
    from mexport_pb.messages import (
        SERVING_TAG as SERVING_TAG,
    )
    from mexport_pb.messages import (
        make_asset_file_def as make_asset_file_def,
    )
    from mexport_pb.messages import (
        make_meta_graph_def as make_meta_graph_def,
    )
    from mexport_pb.messages import (
        make_prediction_log as make_prediction_log,
    )
    from mexport_pb.messages import (
        make_saved_model as make_saved_model,
    )
    from mexport_pb.messages import (
        make_signature_def as make_signature_def,
    )
    from mexport_pb.messages import (
        make_tensor_info as make_tensor_info,
    )
    from mexport_pb.messages import (
        make_tensor_proto as make_tensor_proto,
    )
    from mexport_pb.messages import (
        make_tensor_shape as make_tensor_shape,
    )
    from mexport_pb.messages import (
        read_meta_graph as read_meta_graph,
    )
    from mexport_pb.messages import (
        read_saved_model as read_saved_model,
    )
    from mexport_pb.messages import (
        tensor_proto_to_array as tensor_proto_to_array,
    )
    from mexport_pb.record import (
        RecordBatch as RecordBatch,
    )
    from mexport_pb.record import (
        RecordReader as RecordReader,
    )
    from mexport_pb.record import (
        RecordWriter as RecordWriter,
    )
    from mexport_pb.record import (
        read_records as read_records,
    )
    from mexport_pb.record import (
        write_records as write_records,
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
        "GraphBuilder",
        "Operation",
        "Tensor",
        "Variable",
        "add_main_op",
        "add_saver",
        "clear_devices",
        "get_default_graph",
        "prune_to_signatures",
        "strip_default_attrs",
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
