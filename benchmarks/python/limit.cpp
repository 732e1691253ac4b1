/// What no clone and no catalog of a Python model can leave out, by hand in one pass over its modules: how near to it
/// Ramet is. No clone: what is tied, nested, hooked or plain state is passed over.
#include <ATen/core/Tensor.h>
#include <c10/core/CPUAllocator.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/autograd/python_variable.h>

#include <cstring>
#include <utility>
#include <vector>

#include "python/collection.h"
#include "python/steal.h"

namespace py = pybind11;

namespace {

using ramet::python::CollectionPause;
using ramet::python::steal;
using Entries = std::vector<std::pair<PyObject*, PyObject*>>;

py::object dict_of(py::handle module) { return steal(PyObject_GenericGetDict(module.ptr(), nullptr)); }

/// The entries of a dict, whose values are asked for before the first is looked at.
void gather(PyObject* dict, Entries& entries) {
  entries.clear();
  PyObject *key = nullptr, *value = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(dict, &position, &key, &value);) {
    __builtin_prefetch(value);
    __builtin_prefetch(reinterpret_cast<const char*>(value) + 64);
    entries.emplace_back(key, value);
  }
}

void fetch_ahead(const py::list& modules, std::size_t i) {
  if (i + 8 < modules.size()) {
    const auto* module = reinterpret_cast<const char*>(PyList_GET_ITEM(modules.ptr(), i + 8));
    __builtin_prefetch(module);
    __builtin_prefetch(module - 32);
  }
  if (i + 2 < modules.size()) dict_of(PyList_GET_ITEM(modules.ptr(), i + 2));
}

/// Its bytes go to memory that is there already and stays.
py::object copied(PyObject* source) {
  static std::vector<char> memory(4 << 20);
  static std::size_t used = 0;
  const at::Tensor& tensor = THPVariable_Unpack(source);
  const c10::TensorImpl& impl = *tensor.unsafeGetTensorImpl();
  const std::size_t bytes = impl.unsafe_storage().nbytes();
  if (used + bytes > memory.size()) used = 0;
  char* const at = memory.data() + used;
  used += (bytes + 127) / 64 * 64;
  std::memcpy(at, impl.unsafe_storage().data(), bytes);
  c10::Storage storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(),
                                                             static_cast<int64_t>(bytes),
                                                             c10::DataPtr(
                                                                 at, at, [](void*) {}, c10::kCPU),
                                                             c10::GetCPUAllocator(), /*resizable=*/true));
  const at::Tensor result = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), impl.key_set(), impl.dtype());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(impl.sizes(), impl.strides());
  if (tensor.requires_grad()) result.unsafeGetTensorImpl()->set_requires_grad(true);
  return steal(THPVariable_Wrap(result, Py_TYPE(source)));
}

py::object copied_tensors(PyObject* parameters) {
  const py::object copy = steal(PyDict_Copy(parameters));
  PyObject *name = nullptr, *tensor = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(parameters, &position, &name, &tensor);) {
    if (tensor != Py_None) PyDict_SetItem(copy.ptr(), name, copied(tensor).ptr());
  }
  return copy;
}

/// Each with a __dict__ and containers of its own, and new parameters.
py::list cloned(const py::list& modules) {
  static PyObject* const parameters = PyUnicode_InternFromString("_parameters");
  const CollectionPause pause;
  py::list result(modules.size());
  Entries entries;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    fetch_ahead(modules, i);
    PyObject* const module = PyList_GET_ITEM(modules.ptr(), i);
    const py::object dict = steal(PyDict_Copy(dict_of(module).ptr()));
    gather(dict.ptr(), entries);
    for (const auto& [key, value] : entries) {
      py::object made;
      if (PyODict_CheckExact(value)) {
        made = steal(PyODict_New());
      } else if (PyDict_CheckExact(value)) {
        made = key == parameters ? copied_tensors(value) : steal(PyDict_Copy(value));
      } else if (Py_TYPE(value) == &PySet_Type) {
        made = steal(PySet_New(nullptr));
      }
      if (made) PyDict_SetItem(dict.ptr(), key, made.ptr());
    }
    PyTypeObject* const type = Py_TYPE(module);
    py::object shell = steal(type->tp_alloc(type, 0));
    PyObject_GenericSetDict(shell.ptr(), dict.ptr(), nullptr);
    PyList_SET_ITEM(result.ptr(), i, shell.release().ptr());
  }
  return result;
}

int64_t read(PyObject* parameters) {
  int64_t sum = 0;
  PyObject *name = nullptr, *tensor = nullptr;
  for (Py_ssize_t position = 0; PyDict_Next(parameters, &position, &name, &tensor);) {
    if (tensor == Py_None) continue;
    const c10::TensorImpl& impl = *THPVariable_Unpack(tensor).unsafeGetTensorImpl();
    sum += impl.numel() + static_cast<int64_t>(impl.unsafe_storage().nbytes());
  }
  return sum;
}

/// Looks at each container and each parameter once, and makes as many ties as are given, which is what a catalog hands
/// out; returns these and a number, so that nothing is left out.
py::tuple listed(const py::list& modules, const py::list& ties) {
  static PyObject* const parameters = PyUnicode_InternFromString("_parameters");
  const CollectionPause pause;
  int64_t sum = 0;
  Entries entries;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    fetch_ahead(modules, i);
    gather(dict_of(PyList_GET_ITEM(modules.ptr(), i)).ptr(), entries);
    for (const auto& [key, value] : entries) {
      sum += Py_REFCNT(value);
      if (PyDict_Check(value)) sum += key == parameters ? read(value) : PyDict_GET_SIZE(value);
    }
  }
  py::list made(ties.size());
  for (std::size_t i = 0; i < ties.size(); ++i) {
    PyObject* const tie = PyList_GET_ITEM(ties.ptr(), i);
    PyTypeObject* const type = Py_TYPE(tie);
    py::object copy = steal(type->tp_alloc(type, PyTuple_GET_SIZE(tie)));
    PyObject* const names = PyTuple_GET_ITEM(tie, 1);
    py::tuple own(PyTuple_GET_SIZE(names));
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(names); ++n) {
      Py_ssize_t size = 0;
      const char* text = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(names, n), &size);
      PyTuple_SET_ITEM(own.ptr(), n, steal(PyUnicode_FromStringAndSize(text, size)).release().ptr());
    }
    PyTuple_SET_ITEM(copy.ptr(), 0, Py_NewRef(PyTuple_GET_ITEM(tie, 0)));
    PyTuple_SET_ITEM(copy.ptr(), 1, own.release().ptr());
    PyTuple_SET_ITEM(copy.ptr(), 2, Py_NewRef(PyTuple_GET_ITEM(tie, 2)));
    PyList_SET_ITEM(made.ptr(), i, copy.release().ptr());
  }
  return py::make_tuple(made, sum);
}

}  // namespace

PYBIND11_MODULE(limit, module) {
  module.def("clone", &cloned);
  module.def("catalog", &listed);
}
