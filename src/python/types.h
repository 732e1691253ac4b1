/// How objects of a Python type are cloned.
///
/// Input: a type. Output: its Shape and what to mind, looked up once a type and call. Knows no graph.
#pragma once

#include <c10/util/flat_hash_map.h>
#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace ramet::python {

namespace py = pybind11;

/// How an object is cloned, from the cheapest to the most general.
enum class Shape : uint8_t {
  atomic,  ///< Immutable, or by nature one of its kind (a function, a type): the clone holds the same object.
  tensor,  ///< A Tensor or Parameter, or a subclass that adds nothing to the bytes.
  module,  ///< A torch.nn.Module that is its __dict__.
  list,    ///< These five: of exactly the built-in type.
  tuple,
  dict,
  ordered_dict,
  set,
  method,    ///< A bound method: bound anew to what its owner becomes.
  plain,     ///< A Python object that is its __dict__.
  reduced,   ///< Anything else that `__reduce_ex__` takes apart.
  weak,      ///< A weak reference: to the clone of what it refers to, if that is cloned otherwise.
  scripted,  ///< A ScriptModule: a leaf whose tensors are then put in their slots.
  leaf,      ///< Has a `__deepcopy__` of its own, which is called with a seeded memo.
};

struct TypeFacts {
  Shape shape = Shape::reduced;
  bool is_module = false;     ///< Also where the shape is leaf or reduced.
  bool is_tensor = false;     ///< Also where the shape is leaf.
  bool getstate = false;      ///< A module whose class has a __getstate__ that is not torch.nn.Module's.
  bool setstate = false;      ///< A module or optimizer whose class has a __setstate__ that must run.
  bool parametrized = false;  ///< A module whose class torch made for it alone.
  bool sharded = false;       ///< A module whose parameters FSDP has spread over processes.
  bool is_optimizer = false;  ///< A torch.optim.Optimizer.
  bool ask_instance = false;  ///< Its class has a __getattr__ that might answer for __deepcopy__.
};

/// The facts of the types met in one call. Types can be changed at any time: what is kept from call to call is looked
/// at anew if they were.
class Types {
 public:
  TypeFacts of(PyTypeObject* type) {
    Recent& recent = recent_[reinterpret_cast<std::uintptr_t>(type) / alignof(std::max_align_t) % recent_.size()];
    if (recent.type == type) return recent.facts;
    recent = {type, look_up(type)};
    return recent.facts;
  }

  /// Whether the clone may hold the same object; tuples and frozensets are looked into.
  bool is_atomic(PyObject* object);

 private:
  struct Known;
  static const Known& known();
  TypeFacts look_up(PyTypeObject* type);
  TypeFacts inspect(PyTypeObject* type) const;
  TypeFacts inspect_module(py::handle type, TypeFacts facts) const;
  TypeFacts inspect_tensor(py::handle type, TypeFacts facts) const;
  bool reduces_by_default(py::handle type) const;
  bool only_dict(py::handle type) const;

  /// A model's modules and tensors are of a few types: half of the look-ups' time.
  struct Recent {
    PyTypeObject* type = nullptr;
    TypeFacts facts;
  };
  std::array<Recent, 16> recent_;
  ska::flat_hash_map<PyTypeObject*, TypeFacts> facts_;
};

/// Whether a module's __dict__ holds hooks under this key.
bool is_hooks(PyObject* key);

/// Through which a hook may hold a bound method: functools.partial, and torch's own wrapper of load_state_dict hooks.
bool is_hook_wrapper(PyObject* object);

/// The class torch.nn.Module; the same for the others.
py::object torch_class(const char* module, const char* name);

}  // namespace ramet::python
