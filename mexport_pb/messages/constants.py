"""The names that loaders and servers look for in a SavedModel."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ANY_ASSET_TYPE_URL",
    "ASSETS_COLLECTION",
    "ASSETS_DIRECTORY",
    "ASSETS_EXTRA_DIRECTORY",
    "ASSET_BASE_FILENAME",
    "ASSET_FILEPATHS_COLLECTION",
    "CLASSIFY_INPUTS",
    "CLASSIFY_METHOD",
    "CLASSIFY_OUTPUT_CLASSES",
    "CLASSIFY_OUTPUT_SCORES",
    "DEFAULT_SIGNATURE",
    "GLOBAL_STEP_COLLECTION",
    "INIT_OP_SIGNATURE",
    "LEGACY_INIT_OP_COLLECTION",
    "LOCAL_VARIABLES_COLLECTION",
    "MAIN_OP_COLLECTION",
    "PREDICT_METHOD",
    "REGRESS_INPUTS",
    "REGRESS_METHOD",
    "REGRESS_OUTPUTS",
    "SAVED_MODEL_CPB",
    "SAVED_MODEL_PB",
    "SAVED_MODEL_PBTXT",
    "SCHEMA_VERSION",
    "SERVING_TAG",
    "TABLE_INITIALIZERS_COLLECTION",
    "TRAINABLE_VARIABLES_COLLECTION",
    "TRAINING_TAG",
    "TRAIN_OP_SIGNATURE",
    "VARIABLES_COLLECTION",
    "VARIABLES_DIRECTORY",
    "VARIABLES_PREFIX",
    "WARMUP_FILENAME",
]

# SignatureDef.method_name: which kind of request a signature answers.
PREDICT_METHOD: Final = "tensorflow/serving/predict"
CLASSIFY_METHOD: Final = "tensorflow/serving/classify"
REGRESS_METHOD: Final = "tensorflow/serving/regress"

# The keys of inputs and outputs that classify and regress signatures must use.
CLASSIFY_INPUTS: Final = "inputs"
CLASSIFY_OUTPUT_CLASSES: Final = "classes"
CLASSIFY_OUTPUT_SCORES: Final = "scores"
REGRESS_INPUTS: Final = "inputs"
REGRESS_OUTPUTS: Final = "outputs"

# Keys of MetaGraphDef.signature_def.
DEFAULT_SIGNATURE: Final = "serving_default"
INIT_OP_SIGNATURE: Final = "__saved_model_init_op"  # names an operation, not a tensor
TRAIN_OP_SIGNATURE: Final = "__saved_model_train_op"  # names a tensor or an operation

# MetaInfoDef.tags.
SERVING_TAG: Final = "serve"
TRAINING_TAG: Final = "train"

# Keys of MetaGraphDef.collection_def.
ASSETS_COLLECTION: Final = "saved_model_assets"  # any_list of AssetFileDef
ASSET_FILEPATHS_COLLECTION: Final = "asset_filepaths"  # node_list of the same tensors
MAIN_OP_COLLECTION: Final = "saved_model_main_op"  # node_list with one operation, run after the restore
LEGACY_INIT_OP_COLLECTION: Final = "legacy_init_op"  # the older name of the same
VARIABLES_COLLECTION: Final = "variables"  # bytes_list of VariableDef, as the next two
TRAINABLE_VARIABLES_COLLECTION: Final = "trainable_variables"
LOCAL_VARIABLES_COLLECTION: Final = "local_variables"
GLOBAL_STEP_COLLECTION: Final = "global_step"
TABLE_INITIALIZERS_COLLECTION: Final = "table_initializer"

# Files of an export directory.
SAVED_MODEL_PB: Final = "saved_model.pb"
SAVED_MODEL_PBTXT: Final = "saved_model.pbtxt"
SAVED_MODEL_CPB: Final = "saved_model.cpb"
VARIABLES_DIRECTORY: Final = "variables"
VARIABLES_PREFIX: Final = "variables/variables"
ASSETS_DIRECTORY: Final = "assets"
ASSETS_EXTRA_DIRECTORY: Final = "assets.extra"
WARMUP_FILENAME: Final = "tf_serving_warmup_requests"  # under assets.extra/

SCHEMA_VERSION: Final = 1
ANY_ASSET_TYPE_URL: Final = "type.googleapis.com/tensorflow.AssetFileDef"
# The one AssetFileDef.filename that is not a file: the tensor is fed with the assets directory itself.
ASSET_BASE_FILENAME: Final = "./"
