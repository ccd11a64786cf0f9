// Static shapes that several ops share.
#pragma once

#include "tensorflow/core/framework/shape_inference.h"

namespace mexport {
namespace shapes {

using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// Output 0 is a scalar; other outputs, of which such ops have none, are not.
inline absl::Status Scalar(InferenceContext* c) {
  c->set_output(0, c->Scalar());
  return absl::OkStatus();
}

inline absl::Status SameAs(InferenceContext* c, int input) {
  c->set_output(0, c->input(input));
  return absl::OkStatus();
}

// A vector with an element for each of the input's, whatever its rank.
inline ShapeHandle Flat(InferenceContext* c, int input) { return c->Vector(c->NumElements(c->input(input))); }

// The outputs of a fused lookup. `ids` and `sizes` are the numbers of those inputs; `want` how many sizes there must
// be, -1 if only the table knows.
inline absl::Status FusedLookup(InferenceContext* c, int ids, int sizes, int64_t want) {
  int64_t shards = 0;
  TF_RETURN_IF_ERROR(c->GetAttr("num_of_shards", &shards));
  ShapeHandle vector;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(sizes), 1, &vector));
  DimensionHandle count = c->Dim(vector, 0);
  if (want >= 0) TF_RETURN_IF_ERROR(c->WithValue(count, want, &count));
  DimensionHandle offsets;
  TF_RETURN_IF_ERROR(c->Add(count, 1, &offsets));
  c->set_output(0, c->Vector(c->UnknownDim()));
  c->set_output(1, c->Vector(shards));
  c->set_output(2, c->Vector(offsets));
  c->set_output(3, c->Vector(offsets));
  c->set_output(4, c->input(ids));
  return absl::OkStatus();
}

}  // namespace shapes
}  // namespace mexport
