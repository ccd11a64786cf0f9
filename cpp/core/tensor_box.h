// A box within a row-major tensor, as the runs of bytes that it consists of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mexport {

class TensorBox {
 public:
  // The elements with starts[d] <= index[d] < starts[d] + lengths[d]. Throws Error (invalid argument) if the ranks
  // differ, the box leaves the tensor, or the tensor has more than 2^63 - 1 bytes.
  TensorBox(std::uint64_t element_size, std::vector<std::uint64_t> shape, std::vector<std::uint64_t> starts,
            std::vector<std::uint64_t> lengths);

  std::uint64_t TensorBytes() const { return tensor_bytes_; }
  std::uint64_t BoxBytes() const { return box_bytes_; }

  // Walks over the longest contiguous runs, in ascending order, by their offsets in the tensor. The box must outlive
  // it.
  class Runs {
   public:
    explicit Runs(const TensorBox& box);

    bool done() const { return done_; }
    std::uint64_t begin() const { return begin_; }
    std::uint64_t end() const { return end_; }
    // Shortens the run by its first `size` bytes; goes to the next run when nothing is left of it.
    void Advance(std::uint64_t size);

   private:
    void Place();

    const TensorBox& box_;
    std::vector<std::uint64_t> index_;  // of the run, in the dimensions outside it
    std::uint64_t begin_ = 0;
    std::uint64_t end_ = 0;
    bool done_;
  };

 private:
  std::vector<std::uint64_t> starts_;
  std::vector<std::uint64_t> lengths_;
  std::vector<std::uint64_t> strides_;  // bytes
  std::uint64_t tensor_bytes_;
  std::uint64_t box_bytes_;
  std::size_t outer_ = 0;        // dimensions that a run does not extend over
  std::uint64_t run_begin_ = 0;  // where a run begins, from the outer dimensions' place
  std::uint64_t run_bytes_ = 0;
};

}  // namespace mexport
