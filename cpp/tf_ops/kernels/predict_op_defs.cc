// Registers the op that asks other servers: docs/formats/table_ops.md.
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op.h"
#include "tf_ops/kernels/shape_functions.h"

namespace mexport {
namespace {

// Checks that a vector of aliases has as many as there are tensors.
absl::Status CheckAliases(shapes::InferenceContext* c, int input, std::size_t tensors, const char* what) {
  shapes::ShapeHandle aliases;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(input), 1, &aliases));
  const shapes::DimensionHandle count = c->Dim(aliases, 0);
  if (c->ValueKnown(count) && c->Value(count) != static_cast<int64_t>(tensors)) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": got ", c->Value(count), " aliases, want ", tensors, ", one for each tensor"));
  }
  return absl::OkStatus();
}

absl::Status PredictShapes(shapes::InferenceContext* c) {
  std::vector<tensorflow::DataType> inputs;
  std::vector<tensorflow::DataType> outputs;
  TF_RETURN_IF_ERROR(c->GetAttr("T", &inputs));
  TF_RETURN_IF_ERROR(c->GetAttr("output_types", &outputs));
  TF_RETURN_IF_ERROR(CheckAliases(c, 0, inputs.size(), "input_tensor_aliases"));
  TF_RETURN_IF_ERROR(CheckAliases(c, c->num_inputs() - 1, outputs.size(), "output_tensor_aliases"));
  c->set_output(0, c->Scalar());
  c->set_output(1, c->Scalar());
  for (int i = 2; i < c->num_outputs(); ++i) c->set_output(i, c->UnknownShape());
  return absl::OkStatus();
}

REGISTER_OP("TfServingRemotePredict")
    .Input("input_tensor_aliases: string")
    .Input("input_tensors: T")
    .Input("output_tensor_aliases: string")
    .Output("status_code: int32")
    .Output("status_error_message: string")
    .Output("output_tensors: output_types")
    .Attr("T: list(type)")
    .Attr("model_name: string = ''")
    .Attr("model_version: int = -1")
    .Attr("fail_op_on_rpc_error: bool = true")
    .Attr("max_rpc_deadline_millis: int = 30")
    .Attr("signature_name: string = 'serving_default'")
    .Attr("old_model_name: string = ''")
    .Attr("task: int = -1")
    .Attr("output_types: list(type)")
    .SetIsStateful()
    .SetShapeFn(PredictShapes);

}  // namespace
}  // namespace mexport
