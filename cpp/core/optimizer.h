// How a gradient changes the floats of one segment and the optimizer's state beside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/table_config.h"

namespace mexport {

class Optimizer {
 public:
  struct Step {
    float learning_rate;
    std::int64_t global_step;
  };

  virtual ~Optimizer() = default;

  // The state is the columns of EntryLayout one after another: a float each, two floats' room for an int64.
  static std::size_t StateFloats(OptimizerKind kind, std::size_t dim);

  // The state of a new entry.
  virtual void Initialize(std::size_t dim, float* state) const = 0;
  virtual void Update(std::span<float> values, float* state, const float* gradients, const Step& step) const = 0;
};

// REQUIRES: a config that ParseTableConfig lets pass
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerConfig& config);

}  // namespace mexport
