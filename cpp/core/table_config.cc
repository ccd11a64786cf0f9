#include "core/table_config.h"

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/wire.h"

namespace mexport {
namespace {

constexpr std::uint32_t kSlots = 32768;
constexpr std::int64_t kSecondsPerDay = 86400;

[[noreturn]] void Fail(const std::string& message) {
  throw Error(ErrorKind::kInvalidArgument, "table config: " + message);
}

void Read(WireReader message, InitializerConfig* config) {
  using Kind = InitializerConfig::Kind;
  while (message.Next()) {
    if (config->kind == Kind::kConstants && message.Is(2, WireType::kFixed32)) {
      config->constant = message.ReadFloat();
    } else if (config->kind == Kind::kRandomUniform && message.Is(2, WireType::kFixed32)) {
      config->minval = message.ReadFloat();
    } else if (config->kind == Kind::kRandomUniform && message.Is(3, WireType::kFixed32)) {
      config->maxval = message.ReadFloat();
    } else {
      message.Skip();
    }
  }
}

void Read(WireReader message, CompressorConfig* config) {
  using Kind = CompressorConfig::Kind;
  const bool one_bit = config->kind == Kind::kOneBit;
  while (message.Next()) {
    if (config->kind == Kind::kFixedR8 && message.Is(2, WireType::kFixed32)) {
      config->r = message.ReadFloat();
    } else if (one_bit && message.Is(2, WireType::kVarint)) {
      config->step_size = static_cast<std::int64_t>(message.ReadVarint());
    } else if (one_bit && message.Is(3, WireType::kFixed32)) {
      config->init_scale = message.ReadFloat();
    } else if (one_bit && message.Is(4, WireType::kFixed32)) {
      config->max_scale = message.ReadFloat();
    } else if (one_bit && message.Is(5, WireType::kFixed32)) {
      config->amplitude = message.ReadFloat();
    } else {
      message.Skip();
    }
  }
}

struct FloatSetting {
  std::uint32_t field;
  float OptimizerConfig::* member;
  float value;  // its default
};

// The float settings of each implemented optimizer, and the number of its field use_nesterov.
struct OptimizerSchema {
  OptimizerKind kind;
  std::array<FloatSetting, 6> floats;
  std::uint32_t nesterov_field;
};

using Config = OptimizerConfig;
constexpr std::array<OptimizerSchema, 12> kSchemas{{
    {OptimizerKind::kAdagrad,
     {{{3, &Config::initial_accumulator_value, 0.1f}, {5, &Config::weight_decay_factor, 0}}},
     0},
    {OptimizerKind::kSgd, {}, 0},
    {OptimizerKind::kFtrl,
     {{{3, &Config::beta, 0},
       {4, &Config::initial_accumulator_value, 0.1f},
       {5, &Config::l1_regularization_strength, 0},
       {6, &Config::l2_regularization_strength, 0}}},
     0},
    {OptimizerKind::kAdadelta,
     {{{3, &Config::weight_decay_factor, 0}, {4, &Config::averaging_ratio, 0.9f}, {5, &Config::epsilon, 0.01f}}},
     0},
    {OptimizerKind::kAdam,
     {{{3, &Config::beta1, 0.9f},
       {4, &Config::beta2, 0.99f},
       {6, &Config::weight_decay_factor, 0},
       {8, &Config::epsilon, 0.01f}}},
     7},
    {OptimizerKind::kAmsgrad,
     {{{3, &Config::beta1, 0.9f},
       {4, &Config::beta2, 0.99f},
       {6, &Config::weight_decay_factor, 0},
       {8, &Config::epsilon, 0.01f}}},
     7},
    {OptimizerKind::kMomentum, {{{3, &Config::weight_decay_factor, 0}, {5, &Config::momentum, 0.9f}}}, 4},
    {OptimizerKind::kMovingAverage, {{{2, &Config::momentum, 0.9f}}}, 0},
    {OptimizerKind::kRmsprop,
     {{{2, &Config::learning_rate, 0.01f}, {3, &Config::weight_decay_factor, 0}, {4, &Config::momentum, 0.9f}}},
     0},
    {OptimizerKind::kRmspropV2, {{{3, &Config::weight_decay_factor, 0}, {4, &Config::momentum, 0.9f}}}, 0},
    {OptimizerKind::kBatchSoftmax, {}, 0},
    {OptimizerKind::kGroupAdaGrad,
     {{{3, &Config::beta, 0},
       {4, &Config::initial_accumulator_value, 0.1f},
       {5, &Config::l2_regularization_strength, 0},
       {6, &Config::weight_decay_factor, 0}}},
     0},
}};

const OptimizerSchema* SchemaOf(OptimizerKind kind) {
  for (const OptimizerSchema& schema : kSchemas) {
    if (schema.kind == kind) return &schema;
  }
  return nullptr;
}

OptimizerConfig DefaultsOf(OptimizerKind kind) {
  OptimizerConfig config{.kind = kind};
  if (const OptimizerSchema* schema = SchemaOf(kind)) {
    for (const FloatSetting& setting : schema->floats) {
      if (setting.field != 0) config.*setting.member = setting.value;
    }
  }
  return config;
}

void Read(WireReader message, OptimizerConfig* config) {
  const OptimizerSchema* const schema = SchemaOf(config->kind);
  while (message.Next()) {
    const FloatSetting* found = nullptr;
    if (schema != nullptr) {
      for (const FloatSetting& setting : schema->floats) {
        if (setting.field != 0 && message.Is(setting.field, WireType::kFixed32)) found = &setting;
      }
    }
    if (found != nullptr) {
      config->*found->member = message.ReadFloat();
    } else if (schema != nullptr && schema->nesterov_field != 0 &&
               message.Is(schema->nesterov_field, WireType::kVarint)) {
      config->use_nesterov = message.ReadVarint() != 0;
    } else {
      message.Skip();
    }
  }
}

// A oneof of messages: the last one counts, and merges with what came just before it if that is of the same kind.
template <typename T, typename MakeDefault>
bool ReadAlternative(WireReader& message, std::span<const int> kinds, std::optional<T>* config, MakeDefault make) {
  for (const int kind : kinds) {
    if (!message.Is(static_cast<std::uint32_t>(kind), WireType::kBytes)) continue;
    const auto typed = static_cast<decltype(T::kind)>(kind);
    if (!*config || (*config)->kind != typed) *config = make(typed);
    Read(message.ReadMessage(), &**config);
    return true;
  }
  return false;
}

// Sub-messages as they were found: present is another thing than set.
struct RawSegment {
  SegmentConfig config;
  bool has_initializer = false;
  bool has_optimizer = false;
  bool has_compressor = false;
  bool stochastic_rounding = false;
};

void ReadInitializer(WireReader message, RawSegment* segment) {
  static constexpr std::array kKinds{1, 2, 3, 15};
  segment->has_initializer = true;
  while (message.Next()) {
    if (!ReadAlternative(message, kKinds, &segment->config.initializer,
                         [](InitializerConfig::Kind kind) { return InitializerConfig{.kind = kind}; })) {
      message.Skip();
    }
  }
}

void ReadOptimizer(WireReader message, RawSegment* segment) {
  static constexpr std::array kKinds{1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  segment->has_optimizer = true;
  while (message.Next()) {
    if (message.Is(4, WireType::kVarint)) {
      segment->stochastic_rounding = message.ReadVarint() != 0;
    } else if (!ReadAlternative(message, kKinds, &segment->config.optimizer, DefaultsOf)) {
      message.Skip();
    }
  }
}

void ReadCompressor(WireReader message, RawSegment* segment) {
  static constexpr std::array kKinds{1, 2, 3, 4};
  segment->has_compressor = true;
  while (message.Next()) {
    if (!ReadAlternative(message, kKinds, &segment->config.compressor,
                         [](CompressorConfig::Kind kind) { return CompressorConfig{.kind = kind}; })) {
      message.Skip();
    }
  }
}

RawSegment ReadSegment(WireReader message) {
  RawSegment segment;
  while (message.Next()) {
    if (message.Is(1, WireType::kBytes)) {
      ReadInitializer(message.ReadMessage(), &segment);
    } else if (message.Is(2, WireType::kBytes)) {
      ReadOptimizer(message.ReadMessage(), &segment);
    } else if (message.Is(3, WireType::kBytes)) {
      ReadCompressor(message.ReadMessage(), &segment);
    } else if (message.Is(7, WireType::kVarint)) {
      segment.config.dim = static_cast<std::int32_t>(message.ReadVarint());
    } else {
      message.Skip();
    }
  }
  return segment;
}

void ReadExpire(WireReader message, ExpireConfig* config) {
  while (message.Next()) {
    if (message.Is(1, WireType::kBytes)) {
      std::uint32_t slot = 0;
      std::uint32_t days = 0;
      WireReader entry = message.ReadMessage();
      while (entry.Next()) {
        if (entry.Is(1, WireType::kVarint)) {
          slot = static_cast<std::uint32_t>(entry.ReadVarint());
        } else if (entry.Is(2, WireType::kVarint)) {
          days = static_cast<std::uint32_t>(entry.ReadVarint());
        } else {
          entry.Skip();
        }
      }
      if (slot >= kSlots) {
        Fail("slot_expire_time_config: slot: got " + std::to_string(slot) + ", want less than " +
             std::to_string(kSlots));
      }
      config->days_of_slot[slot] = days;
    } else if (message.Is(2, WireType::kVarint)) {
      config->default_days = static_cast<std::uint32_t>(message.ReadVarint());
    } else {
      message.Skip();
    }
  }
}

void CheckSegment(const RawSegment& segment, const std::string& where) {
  const SegmentConfig& config = segment.config;
  if (config.dim < 1) Fail(where + "dim_size: got " + std::to_string(config.dim) + ", want at least 1");
  if (segment.has_initializer && !config.initializer) Fail(where + "InitializerConfig must be set type");
  if (segment.has_optimizer && !config.optimizer) Fail(where + "OptimizerConfig must be set type");
  if (segment.has_compressor && !config.compressor) Fail(where + "FloatCompressorConfig must be set type");
  if (config.initializer && config.initializer->kind == InitializerConfig::Kind::kRandomUniform) {
    const float range = config.initializer->maxval - config.initializer->minval;
    if (!(range >= 0) || !std::isfinite(range)) {
      Fail(where + "random_uniform: got minval " + std::to_string(config.initializer->minval) + " and maxval " +
           std::to_string(config.initializer->maxval) + ", want a finite range");
    }
  }
  if (config.optimizer) {
    const OptimizerKind kind = config.optimizer->kind;
    if (SchemaOf(kind) == nullptr) {
      Fail(where + "optimizer " + std::string(TraitsOf(kind).name) + " is not implemented");
    }
    if (kind == OptimizerKind::kBatchSoftmax && config.dim != 1) {
      Fail(where + "dim_size with batch_softmax: got " + std::to_string(config.dim) + ", want 1");
    }
  }
  if (config.compressor && config.compressor->step_size < 1) {
    Fail(where + "one_bit step_size: got " + std::to_string(config.compressor->step_size) + ", want at least 1");
  }
}

void CheckTable(const TableConfig& config) {
  std::int64_t dim = 0;
  std::int64_t initializers = 0;
  std::int64_t optimizers = 0;
  for (std::size_t i = 0; i < config.segments.size(); ++i) {
    const SegmentConfig& segment = config.segments[i];
    dim += segment.dim;
    if (segment.initializer) initializers += segment.dim;
    if (segment.optimizer) optimizers += segment.dim;
    if (!config.training() && !segment.compressor) {
      Fail("segment " + std::to_string(i) + ": FloatCompressorConfig must be set type");
    }
  }
  if (dim == 0) Fail("got no segments, want at least one");
  if (dim > TableConfig::kMaxDim) {
    Fail("dimensions: got " + std::to_string(dim) + ", want at most " + std::to_string(TableConfig::kMaxDim));
  }
  if (config.training() && (initializers != dim || optimizers != dim)) {
    Fail("dimensions of initializers, optimizers and retrievers: got " + std::to_string(initializers) + ", " +
         std::to_string(optimizers) + " and " + std::to_string(dim) + ", want the same");
  }
  if (config.training() && config.skip_zero_embedding) {
    Fail("Only EntryConfig_EntryType_SERVING supports skip_zero_embedding");
  }
  if (config.feature_evict_every_n_hours < 1 && config.enable_feature_eviction) {
    Fail("feature_evict_every_n_hours: got " + std::to_string(config.feature_evict_every_n_hours) +
         ", want at least 1");
  }
}

TableConfig ReadTable(WireReader message) {
  TableConfig config;
  bool has_type = false;
  std::uint64_t entry_type = 1;
  while (message.Next()) {
    if (message.Is(1, WireType::kBytes)) {
      WireReader entry = message.ReadMessage();
      while (entry.Next()) {
        if (entry.Is(1, WireType::kBytes)) {
          RawSegment segment = ReadSegment(entry.ReadMessage());
          CheckSegment(segment, "segment " + std::to_string(config.segments.size()) + ": ");
          if (segment.config.optimizer) {
            segment.config.optimizer->stochastic_rounding_float16 = segment.stochastic_rounding;
          }
          config.segments.push_back(std::move(segment.config));
        } else if (entry.Is(2, WireType::kVarint)) {
          entry_type = entry.ReadVarint();
        } else {
          entry.Skip();
        }
      }
    } else if (message.Is(2, WireType::kVarint)) {
      config.initial_capacity = message.ReadVarint();
    } else if (message.Is(3, WireType::kBytes)) {
      ReadExpire(message.ReadMessage(), &config.expire);
    } else if (message.Is(5, WireType::kBytes)) {
      message.ReadMessage();
      has_type = true;
    } else if (message.Is(7, WireType::kVarint)) {
      config.enable_feature_eviction = message.ReadVarint() != 0;
    } else if (message.Is(8, WireType::kVarint)) {
      config.feature_evict_every_n_hours = static_cast<std::int32_t>(message.ReadVarint());
    } else if (message.Is(10, WireType::kVarint)) {
      config.skip_zero_embedding = message.ReadVarint() != 0;
    } else {
      message.Skip();
    }
  }
  if (!has_type) Fail("EmbeddingHashTableConfig must be set type");
  if (entry_type != 1 && entry_type != 2) {
    Fail("entry_type: got " + std::to_string(entry_type) + ", want 1 (TRAINING) or 2 (SERVING)");
  }
  config.entry_type = static_cast<TableConfig::EntryType>(entry_type);
  CheckTable(config);
  return config;
}

template <typename Parse>
auto Guarded(std::span<const std::uint8_t> bytes, Parse parse) {
  try {
    return parse(WireReader(bytes));
  } catch (const WireError& error) {
    Fail("offset " + std::to_string(error.offset()) + ": " + error.what());
  }
}

}  // namespace

std::int64_t ExpireConfig::Seconds(std::uint64_t id) const {
  const auto found = days_of_slot.find(SlotOf(id));
  return (found == days_of_slot.end() ? default_days : found->second) * kSecondsPerDay;
}

TableConfig ParseTableConfig(std::span<const std::uint8_t> bytes) { return Guarded(bytes, ReadTable); }

ExpireConfig ParseExpireConfig(std::span<const std::uint8_t> bytes) {
  return Guarded(bytes, [](WireReader message) {
    ExpireConfig config;
    ReadExpire(message, &config);
    return config;
  });
}

std::vector<NamedTableConfig> ParseMultiTableConfig(std::span<const std::uint8_t> bytes) {
  return Guarded(bytes, [](WireReader message) {
    std::vector<std::string> names;
    std::vector<NamedTableConfig> tables;
    while (message.Next()) {
      if (message.Is(1, WireType::kBytes)) {
        const std::span<const std::uint8_t> name = message.ReadBytes();
        names.emplace_back(name.begin(), name.end());
      } else if (message.Is(2, WireType::kBytes)) {
        const std::span<const std::uint8_t> table = message.ReadBytes();
        tables.push_back({{}, ParseTableConfig(table), {table.begin(), table.end()}});
      } else {
        message.Skip();
      }
    }
    if (names.size() != tables.size()) {
      Fail("got " + std::to_string(names.size()) + " names and " + std::to_string(tables.size()) +
           " configs, want as many");
    }
    for (std::size_t i = 0; i < names.size(); ++i) tables[i].name = std::move(names[i]);
    return tables;
  });
}

}  // namespace mexport
