// Reads the sorted table of a bundle index. See docs/formats/sstable.md.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace mexport {

// Calls `visit` for each entry of the table `file`, in the order of keys; both views end with the call. `path` is for
// messages only. Throws Error (bundle, bundle crc) with the offset for anything that a writer would not have written;
// entries before that place have been visited by then.
void ReadSstable(std::string_view file, const std::string& path,
                 const std::function<void(std::string_view key, std::string_view value)>& visit);

}  // namespace mexport
