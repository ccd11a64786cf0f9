// The codecs of Python's packages, for the core: zlib and gzip by the zlib module, raw snappy by cramjam.
#pragma once

#include <memory>
#include <string>

#include "core/byte_stream.h"

namespace mexport {

// Puts the compression called "", "zlib", "gzip" or "snappy" around `inner`. Throws Error(kInvalidArgument) for other
// names. REQUIRES: the caller holds the GIL, here and when the result is destroyed, and must not hold it elsewhere: the
// codecs take it for as long as they run.
std::unique_ptr<ByteSink> Compressed(std::unique_ptr<ByteSink> inner, const std::string& compression);
std::unique_ptr<ByteSource> Decompressed(std::unique_ptr<ByteSource> inner, const std::string& compression);

}  // namespace mexport
