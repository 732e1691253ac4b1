/// The errors of Ramet. Each names every path involved, what was found and what to write instead.
///
/// Both are raised before anything is allocated wherever that can be known, and leave the source as it was.
#pragma once

#include <c10/util/Exception.h>

#include <string>

namespace ramet {

/// A rule, a selector or a path that cannot be carried out. `ramet.PlanError`, a ValueError, in Python.
class PlanError : public c10::ValueError {
 public:
  explicit PlanError(const std::string& message) : c10::ValueError({"ramet", __FILE__, __LINE__}, message) {}
};

/// Something that cannot be cloned: its path, its type and the way out. `ramet.UncloneableError`, a TypeError, in
/// Python.
class UncloneableError : public c10::TypeError {
 public:
  explicit UncloneableError(const std::string& message) : c10::TypeError({"ramet", __FILE__, __LINE__}, message) {}
};

}  // namespace ramet
