#include "tf_ops/filter_files.h"

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "core/parallel.h"
#include "core/wire.h"
#include "tf_ops/records.h"
#include "tf_ops/shard_files.h"

namespace mexport {
namespace {

std::size_t Threads() { return std::max(1u, std::thread::hardware_concurrency()); }

}  // namespace

void SaveFilter(Platform& platform, const SlidingFilter& filter, const std::string& basename) {
  WithOpErrors(basename, OpError::kInternal, [&] {
    ShardStaging staging(platform, {basename}, filter.splits());
    const SlidingFilter::Position position = filter.position();
    RunTasks(filter.splits(), Threads(), [&](std::size_t i) {
      const std::shared_ptr<RecordWriter> writer = OpenRecordWriter(platform, staging.path(0, i), false);
      filter.Save(position, i, [&](const std::uint8_t* record, std::size_t size) {
        platform.CheckCancelled();
        writer->Write(record, size);
      });
      writer->Sync();
      writer->Close();
    });
    staging.Publish();
  });
}

void RestoreFilter(Platform& platform, SlidingFilter& filter, const std::string& basename) {
  const std::vector<std::string> paths = FindShards(platform, basename);
  WithOpErrors(basename, OpError::kFailedPrecondition, [&] {
    if (paths.size() != filter.splits()) {
      throw OpError(OpError::kResourceExhausted, "the dump is one of another filter: split_num: got " +
                                                     std::to_string(paths.size()) + ", want " +
                                                     std::to_string(filter.splits()));
    }
    SlidingFilter::Dump dump(filter);
    RunTasks(paths.size(), Threads(), [&](std::size_t i) {
      const std::shared_ptr<RecordReader> reader = OpenRecordReader(platform, paths[i], false);
      for (bool meta = true;; meta = false) {
        platform.CheckCancelled();
        const auto record = reader->Peek();
        if (!record && meta) {
          throw OpError(OpError::kDataLoss, paths[i] + ": the file is empty, want a HashFilterSplitMetaDump");
        }
        if (!record) break;
        const auto offset = static_cast<std::int64_t>(reader->offset());
        try {
          if (meta) {
            dump.ReadMeta(i, record->data(), record->size());
          } else {
            dump.ReadCells(i, record->data(), record->size());
          }
        } catch (const WireError& error) {
          throw Error(ErrorKind::kTable, error.what(), paths[i], offset);
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::kInvalidArgument) throw Error(error.kind(), error.what(), paths[i], offset);
          throw OpError(OpError::kResourceExhausted, paths[i] + ": " + error.what());
        }
        reader->Skip();
      }
    });
    filter.Restore(std::move(dump));
  });
}

}  // namespace mexport
