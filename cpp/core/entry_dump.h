// One entry as a message of its own, for whoever asks for entries by id.
#pragma once

#include <cstdint>
#include <string>

#include "core/row_format.h"

namespace mexport {

// The EntryDump of a row, without its id. REQUIRES: format.training()
std::string SerializeEntry(const RowFormat& format, const std::uint8_t* row, std::uint32_t timestamp);

}  // namespace mexport
