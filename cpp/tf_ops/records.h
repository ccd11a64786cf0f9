// Record files on a platform's file systems, and what went wrong with them as the ops report it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/record_reader.h"
#include "core/record_writer.h"
#include "tf_ops/platform.h"

namespace mexport {

std::shared_ptr<RecordReader> OpenRecordReader(Platform& platform, const std::string& path, bool snappy);
std::shared_ptr<RecordWriter> OpenRecordWriter(Platform& platform, const std::string& path, bool snappy);

// Runs `work` and throws what core throws as OpError: "<subject>: <path>: offset <n>: <message>", without what is
// not known. An entry that cannot be parsed has the code `unparsable`.
void WithOpErrors(const std::string& subject, int unparsable, const std::function<void()>& work);

}  // namespace mexport
