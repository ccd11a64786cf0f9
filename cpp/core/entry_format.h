// Field numbers of the messages in a table dump, for reader and writer.
#pragma once

#include <cstdint>

namespace mexport::entry_format {

// EntryDump
constexpr std::uint32_t kId = 1;         // sfixed64
constexpr std::uint32_t kNum = 2;        // repeated float
constexpr std::uint32_t kOpt = 3;        // OptimizerDump
constexpr std::uint32_t kTimestamp = 4;  // int64
// OptimizerDump
constexpr std::uint32_t kDump = 1;  // repeated SingleOptimizerDump; its fields are in entry_layout.cc

}  // namespace mexport::entry_format
