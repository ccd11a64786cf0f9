#include "core/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/stochastic_rounding.h"

namespace mexport {
namespace {

using Config = OptimizerConfig;

class Sgd final : public Optimizer {
 public:
  explicit Sgd(const Config&) {}
  void Initialize(std::size_t, float*) const override {}
  void Update(std::span<float> w, float*, const float* g, const Step& step) const override {
    for (std::size_t i = 0; i < w.size(); ++i) w[i] -= step.learning_rate * g[i];
  }
};

class Adagrad final : public Optimizer {
 public:
  explicit Adagrad(const Config& config) : config_(config) {}
  void Initialize(std::size_t dim, float* norm) const override {
    std::fill_n(norm, dim, config_.initial_accumulator_value);
  }
  void Update(std::span<float> w, float* norm, const float* g, const Step& step) const override {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float gradient = g[i] + config_.weight_decay_factor * w[i];
      norm[i] += gradient * gradient;
      w[i] -= step.learning_rate / std::sqrt(norm[i]) * gradient;
    }
  }

 private:
  Config config_;
};

class Ftrl final : public Optimizer {
 public:
  explicit Ftrl(const Config& config) : config_(config) {}
  void Initialize(std::size_t dim, float* state) const override {
    std::fill_n(state, dim, 0.0f);
    std::fill_n(state + dim, dim, config_.initial_accumulator_value);
  }
  void Update(std::span<float> w, float* state, const float* g, const Step& step) const override {
    const float rate = step.learning_rate;
    if (rate == 0) return;  // it would divide by it
    const float l1 = config_.l1_regularization_strength;
    const float l2 = config_.l2_regularization_strength;
    float* const zero = state;
    float* const norm = state + w.size();
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float new_norm = norm[i] + g[i] * g[i];
      const float sigma = (std::sqrt(new_norm) - std::sqrt(norm[i])) / rate;
      zero[i] += g[i] - sigma * w[i];
      norm[i] = new_norm;
      // The sign is 0 or 1, not -1 or 1: models were trained with these numbers.
      const float sign = std::signbit(zero[i]) ? 1.0f : 0.0f;
      w[i] = std::fabs(zero[i]) > l1 ? rate * (sign * l1 - zero[i]) / (std::sqrt(new_norm) + config_.beta + l2 * rate)
                                     : 0.0f;
    }
  }

 private:
  Config config_;
};

class GroupAdaGrad final : public Optimizer {
 public:
  explicit GroupAdaGrad(const Config& config) : config_(config) {}
  void Initialize(std::size_t, float* sum) const override { *sum = config_.initial_accumulator_value; }
  void Update(std::span<float> w, float* sum, const float* g, const Step& step) const override {
    float largest = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float gradient = g[i] + config_.weight_decay_factor * w[i];
      largest = std::max(largest, gradient * gradient);
    }
    *sum += largest;
    const float rate = step.learning_rate / (config_.beta + std::sqrt(*sum));
    if (rate == 0 || !std::isfinite(rate)) return;  // it would divide by it
    float square = 0;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float gradient = g[i] + config_.weight_decay_factor * w[i];
      w[i] = gradient - w[i] / rate;
      square += w[i] * w[i];
    }
    const float length = std::sqrt(square);
    const float l2 = config_.l2_regularization_strength;
    const float factor = length == 0 || length < l2 ? 0 : -rate * (length - l2) / length;
    for (float& value : w) value *= factor;
  }

 private:
  Config config_;
};

class Adadelta final : public Optimizer {
 public:
  explicit Adadelta(const Config& config) : config_(config) {}
  void Initialize(std::size_t dim, float* state) const override { std::fill_n(state, 2 * dim, 0.0f); }
  void Update(std::span<float> w, float* state, const float* g, const Step& step) const override {
    const float ratio = config_.averaging_ratio;
    const float epsilon = config_.epsilon;
    float* const accum = state;
    float* const accum_update = state + w.size();
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float gradient = g[i] + config_.weight_decay_factor * w[i];
      accum[i] = accum[i] * ratio + gradient * gradient * (1 - ratio);
      const float update = std::sqrt(accum_update[i] + epsilon) / std::sqrt(accum[i] + epsilon) * gradient;
      w[i] -= update * step.learning_rate;
      accum_update[i] = accum_update[i] * ratio + update * update * (1 - ratio);
    }
  }

 private:
  Config config_;
};

// Adam, and Amsgrad, which divides by the largest v so far.
class Adam final : public Optimizer {
 public:
  explicit Adam(const Config& config) : config_(config), keeps_largest_(config.kind == OptimizerKind::kAmsgrad) {}
  void Initialize(std::size_t dim, float* state) const override {
    std::fill_n(state, Vectors() * dim, 0.0f);
    state[Vectors() * dim] = config_.beta1;
    state[Vectors() * dim + 1] = config_.beta2;
  }
  void Update(std::span<float> w, float* state, const float* g, const Step& step) const override {
    const float beta1 = config_.beta1;
    const float beta2 = config_.beta2;
    float* const m = state;
    float* const v = state + w.size();
    float* const largest = keeps_largest_ ? v + w.size() : v;
    float* const powers = state + Vectors() * w.size();
    const float rate = step.learning_rate * std::sqrt(1 - powers[1]) / (1 - powers[0]);
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float gradient = g[i] + config_.weight_decay_factor * w[i];
      m[i] += (gradient - m[i]) * (1 - beta1);
      v[i] += (gradient * gradient - v[i]) * (1 - beta2);
      if (keeps_largest_) largest[i] = std::max(largest[i], v[i]);
      const float momentum = config_.use_nesterov ? gradient * (1 - beta1) + beta1 * m[i] : m[i];
      w[i] -= momentum * rate / (std::sqrt(largest[i]) + config_.epsilon);
    }
    powers[0] *= beta1;
    powers[1] *= beta2;
  }

 private:
  std::size_t Vectors() const { return keeps_largest_ ? 3 : 2; }

  Config config_;
  bool keeps_largest_;
};

class Momentum final : public Optimizer {
 public:
  explicit Momentum(const Config& config) : config_(config) {}
  void Initialize(std::size_t dim, float* n) const override { std::fill_n(n, dim, 0.0f); }
  void Update(std::span<float> w, float* n, const float* g, const Step& step) const override {
    const float momentum = config_.momentum;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float dx = step.learning_rate * (g[i] + config_.weight_decay_factor * w[i]);
      const float old = n[i];
      n[i] = momentum * old - dx;
      w[i] += config_.use_nesterov ? (1 + momentum) * n[i] - momentum * old : n[i];
    }
  }

 private:
  Config config_;
};

class MovingAverage final : public Optimizer {
 public:
  explicit MovingAverage(const Config& config) : momentum_(config.momentum) {}
  void Initialize(std::size_t, float*) const override {}
  void Update(std::span<float> w, float*, const float* g, const Step&) const override {
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = momentum_ * w[i] + (1 - momentum_) * g[i];
  }

 private:
  float momentum_;
};

// Computes in double, and takes the learning rate of its config.
class Rmsprop final : public Optimizer {
 public:
  explicit Rmsprop(const Config& config) : config_(config) {}
  void Initialize(std::size_t dim, float* n) const override { std::fill_n(n, dim, 0.0f); }
  void Update(std::span<float> w, float* n, const float* g, const Step&) const override {
    const double momentum = config_.momentum;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double dx = static_cast<double>(g[i]) + static_cast<double>(config_.weight_decay_factor) * w[i];
      n[i] = static_cast<float>(momentum * n[i] + (1 - momentum) * dx * dx);
      w[i] -= static_cast<float>(config_.learning_rate / (std::sqrt(static_cast<double>(n[i])) + 1) * dx);
    }
  }

 private:
  Config config_;
};

class RmspropV2 final : public Optimizer {
 public:
  explicit RmspropV2(const Config& config) : config_(config) {}
  void Initialize(std::size_t dim, float* n) const override { std::fill_n(n, dim, 0.0f); }
  void Update(std::span<float> w, float* n, const float* g, const Step& step) const override {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const float dx = g[i] + config_.weight_decay_factor * w[i];
      n[i] = config_.momentum * n[i] + dx * dx;
      w[i] -= step.learning_rate / (std::sqrt(n[i]) + 1) * dx;
    }
  }

 private:
  Config config_;
};

// The mean distance between the steps in which an id occurs.
class BatchSoftmax final : public Optimizer {
 public:
  explicit BatchSoftmax(const Config&) {}
  void Initialize(std::size_t, float* state) const override { StoreStep(0, state); }
  void Update(std::span<float> w, float* state, const float*, const Step& step) const override {
    std::int64_t last;
    std::memcpy(&last, state, sizeof(last));
    // A restored step may be anything; as doubles the two cannot overflow.
    const auto distance = static_cast<float>(static_cast<double>(step.global_step) - static_cast<double>(last));
    w[0] = (1 - step.learning_rate) * w[0] + step.learning_rate * distance;
    StoreStep(step.global_step, state);
  }

 private:
  static void StoreStep(std::int64_t step, float* state) { std::memcpy(state, &step, sizeof(step)); }
};

class StochasticRounding final : public Optimizer {
 public:
  explicit StochasticRounding(std::unique_ptr<Optimizer> inner) : inner_(std::move(inner)) {}
  void Initialize(std::size_t dim, float* state) const override { inner_->Initialize(dim, state); }
  void Update(std::span<float> w, float* state, const float* g, const Step& step) const override {
    inner_->Update(w, state, g, step);
    for (float& value : w) value = RoundToHalfAtRandom(value);
  }

 private:
  std::unique_ptr<Optimizer> inner_;
};

template <typename T>
std::unique_ptr<Optimizer> Make(const Config& config) {
  return std::make_unique<T>(config);
}

std::unique_ptr<Optimizer> MakeInner(const Config& config) {
  switch (config.kind) {
    case OptimizerKind::kAdagrad:
      return Make<Adagrad>(config);
    case OptimizerKind::kSgd:
      return Make<Sgd>(config);
    case OptimizerKind::kFtrl:
      return Make<Ftrl>(config);
    case OptimizerKind::kAdadelta:
      return Make<Adadelta>(config);
    case OptimizerKind::kAdam:
    case OptimizerKind::kAmsgrad:
      return Make<Adam>(config);
    case OptimizerKind::kMomentum:
      return Make<Momentum>(config);
    case OptimizerKind::kMovingAverage:
      return Make<MovingAverage>(config);
    case OptimizerKind::kRmsprop:
      return Make<Rmsprop>(config);
    case OptimizerKind::kRmspropV2:
      return Make<RmspropV2>(config);
    case OptimizerKind::kBatchSoftmax:
      return Make<BatchSoftmax>(config);
    case OptimizerKind::kGroupAdaGrad:
      return Make<GroupAdaGrad>(config);
    case OptimizerKind::kDynamicWdAdagrad:
    case OptimizerKind::kDc:
    case OptimizerKind::kGroupFtrl:
      break;
  }
  return nullptr;
}

}  // namespace

std::size_t Optimizer::StateFloats(OptimizerKind kind, std::size_t dim) {
  std::size_t floats = 0;
  for (const StateField& field : TraitsOf(kind).state) floats += (field.per_dim ? dim : 1) * (field.is_integer ? 2 : 1);
  return floats;
}

std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerConfig& config) {
  std::unique_ptr<Optimizer> inner = MakeInner(config);
  if (!config.stochastic_rounding_float16) return inner;
  return std::make_unique<StochasticRounding>(std::move(inner));
}

}  // namespace mexport
