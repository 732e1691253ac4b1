/// The bytes that one call copies within the machine's own memory. Private to the core.
#pragma once

#include <cstddef>
#include <vector>

namespace ramet::core {

/// Gathers copies, then makes them all at once, by all of torch's threads.
class Copies {
 public:
  /// Neither memory is touched before run(). `warm`: the target's pages are in place.
  void add(char* to, const char* from, std::size_t bytes, bool warm);

  /// Makes the copies that were added. Throws nothing once it has begun to copy.
  void run();

 private:
  struct Copy {
    char* to;
    const char* from;
    std::size_t bytes;
    bool warm;
  };

  void end_unit();

  std::vector<Copy> copies_;
  std::vector<std::size_t> units_;  // where each ends in copies_
  std::size_t cost_ = 0;
};

}  // namespace ramet::core
