"""What a server tells of a model: its signatures, and that it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mexport_pb._proto.model_service_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelVersionStatus,
    SignatureDefMap,
)
from mexport_pb.errors import ServingError

if TYPE_CHECKING:
    from mexport_pb.runtime.serving import ServedModel

__all__ = ["model_metadata", "model_status"]

_FIELD: Final = "signature_def"
_TYPE_URL: Final = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def model_metadata(model: ServedModel, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
    """Answers with the signatures; raises ServingError."""
    spec = model.answered(request.model_spec, "")
    if list(dict.fromkeys(request.metadata_field)) != [_FIELD]:
        reason = f"metadata field: got {list(request.metadata_field)}, want [{_FIELD!r}]"
        raise ServingError("INVALID_ARGUMENT", reason)
    signatures = SignatureDefMap()
    for key, signature in model.meta_graph.signature_def.items():
        signatures.signature_def[key].CopyFrom(signature)
    response = GetModelMetadataResponse(model_spec=spec)
    packed = response.metadata[_FIELD]
    packed.type_url = _TYPE_URL
    packed.value = signatures.SerializeToString(deterministic=True)
    return response


def model_status(model: ServedModel, request: GetModelStatusRequest) -> GetModelStatusResponse:
    """Answers that the one version is there; 0 stands for a version that is not known. Raises ServingError."""
    spec = model.answered(request.model_spec, "")
    response = GetModelStatusResponse()
    status = response.model_version_status.add(version=spec.version.value, state=ModelVersionStatus.AVAILABLE)
    status.status.SetInParent()
    return response
