// Registers the ops on one table: docs/formats/table_ops.md.
#include "tensorflow/core/framework/op.h"
#include "tf_ops/kernels/shape_functions.h"

namespace mexport {
namespace {

using shapes::InferenceContext;

absl::Status TablesAndShards(InferenceContext* c, int64_t* tables, int64_t* both) {
  int64_t shards = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("N", tables));
  TF_RETURN_IF_ERROR(c->GetAttr("num_of_shards", &shards));
  if (shards < 0) return absl::InvalidArgumentError("num_of_shards: want at least 0");
  *both = *tables * shards;
  return absl::OkStatus();
}

REGISTER_OP("MonolithHashTableLookup")
    .Input("table_handle: resource")
    .Input("ids: int64")
    .Output("embeddings: float32")
    .Attr("dim_size: int")
    .Attr("use_multi_threads: bool = false")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      int64_t dim = 0;
      TF_RETURN_IF_ERROR(c->GetAttr("dim_size", &dim));
      c->set_output(0, c->Matrix(c->NumElements(c->input(1)), dim));
      return absl::OkStatus();
    });

REGISTER_OP("MonolithHashTableLookupEntry")
    .Input("table_handle: resource")
    .Input("ids: int64")
    .Output("entry_str: string")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, shapes::Flat(c, 1));
      return absl::OkStatus();
    });

REGISTER_OP("MonolithHashTableLookupGradient")
    .Input("id_indices: int64")
    .Input("id_values: int64")
    .Input("input_grads: float")
    .Output("ids: int64")
    .Output("output_grads: float")
    .SetShapeFn([](InferenceContext* c) {
      shapes::ShapeHandle indices;
      shapes::ShapeHandle values;
      shapes::ShapeHandle grads;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &indices));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &values));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 2, &grads));
      shapes::DimensionHandle n;
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(indices, 0), c->Dim(values, 0), &n));
      c->set_output(0, c->Vector(n));
      c->set_output(1, c->Matrix(n, c->Dim(grads, 1)));
      return absl::OkStatus();
    });

REGISTER_OP("MonolithHashTableFusedLookup")
    .Input("table_handles: N * resource")
    .Input("ids: int64")
    .Input("fused_slot_size: int32")
    .Input("req_time: int64")
    .Output("embeddings: float32")
    .Output("embedding_splits: int32")
    .Output("id_offsets: int32")
    .Output("embedding_offsets: int32")
    .Output("indices: int64")
    .Attr("N: int")
    .Attr("num_of_shards: int")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      int64_t tables = 0;
      int64_t both = 0;
      TF_RETURN_IF_ERROR(TablesAndShards(c, &tables, &both));
      const int ids = static_cast<int>(tables);
      return shapes::FusedLookup(c, ids, ids + 1, both);
    });

REGISTER_OP("MonolithHashTableAssign")
    .Input("table_handle: resource")
    .Input("id_values: int64")
    .Input("id_updates: float")
    .Input("req_time: int64")
    .Output("table_handle_output: resource")
    .SetIsStateful()
    .SetShapeFn(shapes::Scalar);

REGISTER_OP("MonolithHashTableAssignAdd")
    .Input("table_handle: resource")
    .Input("id_values: int64")
    .Input("id_updates: float")
    .Input("req_time: int64")
    .Output("table_handle_output: resource")
    .SetIsStateful()
    .SetShapeFn(shapes::Scalar);

REGISTER_OP("MonolithHashTableOptimize")
    .Input("table_handle: resource")
    .Input("id_values: int64")
    .Input("id_updates: float")
    .Input("learning_rate_tensor: float")
    .Input("req_time: int64")
    .Input("global_step: int64")
    .Output("table_handle_output: resource")
    .Attr("use_multi_threads: bool = false")
    .Attr("queue_size: int = 0")
    .Attr("enable_dedup: bool = false")
    .SetIsStateful()
    .SetShapeFn(shapes::Scalar);

REGISTER_OP("MonolithHashTableFusedOptimize")
    .Input("table_handles: N * resource")
    .Input("ids: int64")
    .Input("indices: int64")
    .Input("fused_slot_size: int32")
    .Input("id_grads: float")
    .Input("id_offsets: int32")
    .Input("grad_offsets: int32")
    .Input("learning_rate_tensors: float")
    .Input("req_time: int64")
    .Input("global_step: int64")
    .Output("table_handles_output: N * resource")
    .Attr("N: int")
    .Attr("num_of_shards: int")
    .Attr("enable_grad_accumulation: bool = false")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      int64_t tables = 0;
      int64_t both = 0;
      TF_RETURN_IF_ERROR(TablesAndShards(c, &tables, &both));
      for (int i = 0; i < tables; ++i) c->set_output(i, c->Scalar());
      shapes::ShapeHandle sizes;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(static_cast<int>(tables) + 2), 1, &sizes));
      shapes::DimensionHandle count;
      return c->WithValue(c->Dim(sizes, 0), both, &count);
    });

REGISTER_OP("MonolithHashTableSave")
    .Input("handle: resource")
    .Input("basename: string")
    .Output("output_handle: resource")
    .Attr("nshards: int = -1")
    .Attr("random_sleep_ms: int = 0")
    .Attr("slot_expire_time_config: string = ''")
    .SetIsStateful()
    .SetShapeFn(shapes::Scalar);

REGISTER_OP("MonolithHashTableRestore")
    .Input("handle: resource")
    .Input("basename: string")
    .Output("output_handle: resource")
    .SetIsStateful()
    .SetShapeFn(shapes::Scalar);

REGISTER_OP("MonolithHashTableSize")
    .Input("table_handle: resource")
    .Output("size: int64")
    .SetIsStateful()
    .SetShapeFn(shapes::Scalar);

REGISTER_OP("MonolithHashTableSaveAsTensor")
    .Input("table_handle: resource")
    .Input("shard_idx: int32")
    .Input("num_shards: int32")
    .Input("limit: int64")
    .Input("offset: int64")
    .Output("new_offset: int64")
    .Output("entry: string")
    .SetIsStateful()
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->Scalar());
      c->set_output(1, c->Vector(c->UnknownDim()));
      return absl::OkStatus();
    });

REGISTER_OP("MonolithExtractSlotFromEntry")
    .Input("entry: string")
    .Output("slot: int32")
    .Attr("fid_v2: bool")
    .SetShapeFn([](InferenceContext* c) { return shapes::SameAs(c, 0); });

}  // namespace
}  // namespace mexport
