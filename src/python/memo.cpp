/// Seeds a memo with storages, so that a view that only user code knows of stays a view of what it viewed.
#include "python/memo.h"

#include <ramet/catalog.h>
#include <torch/csrc/Storage.h>

#include "python/steal.h"

namespace ramet::python {
namespace {

py::object key_of(const void* address) { return steal(PyLong_FromVoidPtr(const_cast<void*>(address))); }

/// The clone's storage for each of the source's that was copied whole, or is shared. One that is partly shared, or
/// cut down to the bytes in use, stands for nothing: a view over it would show other bytes.
py::dict storages(const core::Graph& graph, const std::vector<at::Tensor>& tensors) {
  ska::flat_hash_map<c10::StorageImpl*, c10::StorageImpl*> made;
  for (core::TensorId id = 0; id < tensors.size(); ++id) {
    const at::Tensor &from = graph.tensors[id].value, &to = tensors[id];
    if (!to.defined() || !core::has_bytes(from) || !to.has_storage()) continue;
    c10::StorageImpl* source = from.storage().unsafeGetStorageImpl();
    c10::StorageImpl* target = to.storage().unsafeGetStorageImpl();
    const bool whole = from.storage_offset() == to.storage_offset() && source->nbytes() == target->nbytes();
    const auto [it, added] = made.emplace(source, whole ? target : nullptr);
    if (!added && it->second != target) it->second = nullptr;
  }
  py::dict result;
  for (const auto& [source, target] : made) {
    if (target == nullptr) continue;
    PyObject* storage = THPStorage_Wrap(c10::Storage(c10::intrusive_ptr<c10::StorageImpl>::reclaim_copy(target)));
    if (storage == nullptr) throw py::error_already_set();
    result[key_of(source)] = py::reinterpret_steal<py::object>(storage);
  }
  return result;
}

}  // namespace

Memo::Memo(const Walk& walk, const std::vector<at::Tensor>& tensors, py::dict memo)
    : walk_(walk), memo_(std::move(memo)), deepcopy_(py::module_::import("copy").attr("deepcopy")) {
  memo_.attr("setdefault")("torch", py::dict()).attr("update")(storages(walk.graph, tensors));
}

void Memo::forget(core::NodeId node) { memo_.attr("pop")(key_of(walk_.items[node].object.ptr()), py::none()); }

void Memo::keep_alive(const py::object& source) {
  memo_.attr("setdefault")(key_of(memo_.ptr()), py::list()).attr("append")(source);
}

void Memo::add(core::NodeId node, const py::object& made) { memo_[key_of(walk_.items[node].object.ptr())] = made; }

py::object Memo::find(core::NodeId node) const {
  PyObject* found = PyDict_GetItemWithError(memo_.ptr(), key_of(walk_.items[node].object.ptr()).ptr());
  if (found == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
  return py::reinterpret_borrow<py::object>(found);
}

py::object Memo::deepcopy(const py::object& object) const { return deepcopy_(object, memo_); }

}  // namespace ramet::python
