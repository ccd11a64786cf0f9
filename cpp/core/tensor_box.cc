#include "core/tensor_box.h"

#include <limits>
#include <utility>

#include "core/error.h"

namespace mexport {
namespace {

std::uint64_t MultiplyOrThrow(std::uint64_t a, std::uint64_t b) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (b != 0 && a > kMax / b) throw Error(ErrorKind::kInvalidArgument, "tensor has too many bytes");
  return a * b;
}

}  // namespace

TensorBox::TensorBox(std::uint64_t element_size, std::vector<std::uint64_t> shape, std::vector<std::uint64_t> starts,
                     std::vector<std::uint64_t> lengths)
    : starts_(std::move(starts)),
      lengths_(std::move(lengths)),
      strides_(shape.size()),
      tensor_bytes_(element_size),
      box_bytes_(element_size) {
  if (starts_.size() != shape.size() || lengths_.size() != shape.size()) {
    throw Error(ErrorKind::kInvalidArgument, "box and tensor differ in rank");
  }
  run_bytes_ = element_size;
  bool run_grows = true;
  for (std::size_t d = shape.size(); d-- > 0;) {
    if (starts_[d] > shape[d] || lengths_[d] > shape[d] - starts_[d]) {
      throw Error(ErrorKind::kInvalidArgument, "box leaves the tensor");
    }
    strides_[d] = tensor_bytes_;
    // The first dimension that is not taken whole, from the inside, is the last that a run extends over.
    if (run_grows) {
      run_begin_ = starts_[d] * strides_[d];
      run_bytes_ = MultiplyOrThrow(run_bytes_, lengths_[d]);
      outer_ = d;
      run_grows = lengths_[d] == shape[d];
    }
    tensor_bytes_ = MultiplyOrThrow(tensor_bytes_, shape[d]);
    box_bytes_ = MultiplyOrThrow(box_bytes_, lengths_[d]);
  }
}

TensorBox::Runs::Runs(const TensorBox& box) : box_(box), index_(box.outer_, 0), done_(box.box_bytes_ == 0) {
  if (!done_) Place();
}

void TensorBox::Runs::Place() {
  begin_ = box_.run_begin_;
  for (std::size_t d = 0; d < index_.size(); ++d) begin_ += (box_.starts_[d] + index_[d]) * box_.strides_[d];
  end_ = begin_ + box_.run_bytes_;
}

void TensorBox::Runs::Advance(std::uint64_t size) {
  begin_ += size;
  if (begin_ < end_) return;
  for (std::size_t d = index_.size(); d-- > 0;) {
    if (++index_[d] < box_.lengths_[d]) {
      Place();
      return;
    }
    index_[d] = 0;
  }
  done_ = true;
}

}  // namespace mexport
