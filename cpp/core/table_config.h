// What a serialised monolith.hash_table.EmbeddingHashTableConfig says, checked and with its defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/entry_layout.h"

namespace mexport {

struct InitializerConfig {
  // The numbers of the message's oneof.
  enum class Kind : int { kZeros = 1, kRandomUniform = 2, kOnes = 3, kConstants = 15 };
  Kind kind;
  float constant = 0;
  float minval = -0.05f;
  float maxval = 0.05f;
};

struct CompressorConfig {
  enum class Kind : int { kFp32 = 1, kFp16 = 2, kFixedR8 = 3, kOneBit = 4 };
  Kind kind;
  float r = 1;  // fixed_r8; the rest is one_bit's
  std::int64_t step_size = 200;
  float init_scale = 1;
  float max_scale = 10000;
  float amplitude = 0.1f;
};

// The union of all optimizers' settings; which count, the kind tells.
struct OptimizerConfig {
  OptimizerKind kind;
  bool stochastic_rounding_float16 = false;
  float learning_rate = 0.01f;
  float initial_accumulator_value = 0.1f;
  float weight_decay_factor = 0;
  float beta = 0;
  float l1_regularization_strength = 0;
  float l2_regularization_strength = 0;
  float averaging_ratio = 0.9f;
  float epsilon = 0.01f;
  float beta1 = 0.9f;
  float beta2 = 0.99f;
  float momentum = 0.9f;
  bool use_nesterov = false;
};

struct SegmentConfig {
  std::int32_t dim = 0;
  std::optional<InitializerConfig> initializer;
  std::optional<OptimizerConfig> optimizer;
  std::optional<CompressorConfig> compressor;
};

// After how many days without an update the entries of a slot go.
struct ExpireConfig {
  std::uint32_t default_days = 36500;
  std::unordered_map<std::uint32_t, std::uint32_t> days_of_slot;

  // The slot of an id by its second layout: bits 48 to 62.
  static std::uint32_t SlotOf(std::uint64_t id) { return static_cast<std::uint32_t>(id >> 48) & 0x7fff; }
  std::int64_t Seconds(std::uint64_t id) const;
};

struct TableConfig {
  enum class EntryType : int { kTraining = 1, kServing = 2 };
  // The most floats in an entry; of our own making.
  static constexpr std::int64_t kMaxDim = 1 << 20;

  EntryType entry_type = EntryType::kTraining;
  std::vector<SegmentConfig> segments;
  std::uint64_t initial_capacity = 1;
  ExpireConfig expire;
  bool enable_feature_eviction = false;
  std::int32_t feature_evict_every_n_hours = 240;
  bool skip_zero_embedding = false;

  bool training() const { return entry_type == EntryType::kTraining; }
};

// Throws Error(kInvalidArgument) for bytes that are no such message, and for a configuration that makes no table.
TableConfig ParseTableConfig(std::span<const std::uint8_t> bytes);

struct NamedTableConfig {
  std::string name;
  TableConfig config;
  std::vector<std::uint8_t> bytes;
};

// The tables of a serialised MultiEmbeddingHashTableConfig, in its order. Throws as above.
std::vector<NamedTableConfig> ParseMultiTableConfig(std::span<const std::uint8_t> bytes);

// The slots' days of a serialised SlotExpireTimeConfig. Throws as above.
ExpireConfig ParseExpireConfig(std::span<const std::uint8_t> bytes);

}  // namespace mexport
