"""Exporters: from a model_fn, a MetaGraphDef or several to a published SavedModel."""

from mexport_pb.export.base import BaseExporter
from mexport_pb.export.checkpoint import checkpoint_step, latest_checkpoint
from mexport_pb.export.context import (
    ExportContext,
    ExportMode,
    SavedModelSignature,
    enter_export_mode,
    get_current_export_ctx,
    get_current_export_mode,
    is_exporting,
    is_exporting_distributed,
    is_exporting_standalone,
)
from mexport_pb.export.distributed import DistributedExporter
from mexport_pb.export.meta_graph import SignatureSpec, export_meta_graph, parse_signature
from mexport_pb.export.remote_predict import RemotePredictHelper, call_dense_part
from mexport_pb.export.source import GraphSource, ProtobufSource
from mexport_pb.export.spec import (
    ClassificationOutput,
    EstimatorSpec,
    ModeKeys,
    PredictOutput,
    RegressionOutput,
    RunConfig,
    ServingInputReceiver,
)
from mexport_pb.export.standalone import StandaloneExporter
from mexport_pb.export.table_graph import (
    add_ckpt_to_assets,
    add_multi_hashtable_assign_signatures,
    build_hashtable_assign_inputs_outputs,
    create_asset_base,
    create_hashtable_restore_ops,
    create_multi_hashtable_restore_ops,
)
from mexport_pb.export.table_output import TableMode, TableOutput, plan_tables
from mexport_pb.export.validate import CheckReport, check_saved_model
from mexport_pb.export.writer import write_saved_model

__all__ = [
    "BaseExporter",
    "CheckReport",
    "ClassificationOutput",
    "DistributedExporter",
    "EstimatorSpec",
    "ExportContext",
    "ExportMode",
    "GraphSource",
    "ModeKeys",
    "PredictOutput",
    "ProtobufSource",
    "RegressionOutput",
    "RemotePredictHelper",
    "RunConfig",
    "SavedModelSignature",
    "ServingInputReceiver",
    "SignatureSpec",
    "StandaloneExporter",
    "TableMode",
    "TableOutput",
    "add_ckpt_to_assets",
    "add_multi_hashtable_assign_signatures",
    "build_hashtable_assign_inputs_outputs",
    "call_dense_part",
    "check_saved_model",
    "checkpoint_step",
    "create_asset_base",
    "create_hashtable_restore_ops",
    "create_multi_hashtable_restore_ops",
    "enter_export_mode",
    "export_meta_graph",
    "get_current_export_ctx",
    "get_current_export_mode",
    "is_exporting",
    "is_exporting_distributed",
    "is_exporting_standalone",
    "latest_checkpoint",
    "parse_signature",
    "plan_tables",
    "write_saved_model",
]
