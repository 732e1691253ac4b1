/// Python's garbage collection, held back while Ramet makes objects.
#pragma once

#include <Python.h>

namespace ramet::python {

/// No garbage collection while thousands of objects are made, none of which can be garbage: it would take most of the
/// time. Restored on every way out; of calls in several threads at once, by the last.
class CollectionPause {
 public:
  CollectionPause() {
    if (calls_++ == 0) was_enabled_ = PyGC_Disable() != 0;
  }
  ~CollectionPause() {
    if (--calls_ == 0 && was_enabled_) PyGC_Enable();
  }
  CollectionPause(const CollectionPause&) = delete;
  CollectionPause& operator=(const CollectionPause&) = delete;

 private:
  // Both by leave of the GIL.
  static inline int calls_ = 0;
  static inline bool was_enabled_ = false;
};

}  // namespace ramet::python
