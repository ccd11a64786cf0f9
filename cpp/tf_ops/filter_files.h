// Hash filters to and from their files: docs/formats/hash_filter.md.
//
// This header is C++17: see platform.h.
#pragma once

#include <string>

#include "core/sliding_filter.h"
#include "tf_ops/platform.h"

namespace mexport {

// Replaces whatever dump was there. Throws OpError.
void SaveFilter(Platform& platform, const SlidingFilter& filter, const std::string& basename);
// Throws OpError, with kResourceExhausted where the dump is one of another filter; the filter is then as it was.
void RestoreFilter(Platform& platform, SlidingFilter& filter, const std::string& basename);

}  // namespace mexport
