// What a new entry begins with.
#pragma once

#include <span>

#include "core/table_config.h"

namespace mexport {

// Random values come from a generator of the thread's own, which every thread starts with the same seed.
void InitializeValues(const InitializerConfig& config, std::span<float> values);

}  // namespace mexport
