// The codecs of record files: zlib and gzip by Python's zlib module, snappy by the core.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>

#include "core/byte_stream.h"

namespace mexport {

enum class Compression { kNone, kZlib, kGzip, kSnappy };

// What Python calls None or "", "zlib", "gzip" or "snappy", in any case. Throws Error(kInvalidArgument) for anything
// else.
Compression ToCompression(pybind11::handle name);

// Puts the compression around `inner`. REQUIRES: the caller holds the GIL, here and when the result is destroyed, and
// must not hold it elsewhere: the codecs take it for as long as they run.
std::unique_ptr<ByteSink> Compressed(std::unique_ptr<ByteSink> inner, Compression compression);
// Memory stays bounded by a record of max_record_bytes.
std::unique_ptr<ByteSource> Decompressed(std::unique_ptr<ByteSource> inner, Compression compression,
                                         std::uint64_t max_record_bytes);

}  // namespace mexport
