// Entries as messages of their own, for whoever asks for some of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/entry_batch.h"
#include "core/row_format.h"

namespace mexport {

// The EntryDump of a row, without its id. REQUIRES: format.training()
std::string SerializeEntry(const RowFormat& format, const std::uint8_t* row, std::uint32_t timestamp);

// The EntryDump of each row, as files hold them.
std::vector<std::string> SerializeEntries(const EntryBatch& batch);

}  // namespace mexport
