/// Looks at a Python type as copy.deepcopy would, once.
#include "python/types.h"

#include <algorithm>
#include <string>
#include <vector>

#include "python/steal.h"

namespace ramet::python {
namespace {

/// What a class itself defines.
py::object own_dict(PyObject* type) {
#if PY_VERSION_HEX >= 0x030C0000
  return py::reinterpret_steal<py::object>(PyType_GetDict(reinterpret_cast<PyTypeObject*>(type)));
#else
  return py::reinterpret_borrow<py::object>(reinterpret_cast<PyTypeObject*>(type)->tp_dict);
#endif
}

/// What a class or one of its bases says of `name`; null if none does. Raises nothing, which is what takes time where
/// most names are missing.
py::object attribute(py::handle type, const char* name) {
  const py::object key = steal(PyUnicode_InternFromString(name));
  PyObject* mro = reinterpret_cast<PyTypeObject*>(type.ptr())->tp_mro;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); ++i) {
    const py::object dict = own_dict(PyTuple_GET_ITEM(mro, i));
    PyObject* found = PyDict_GetItemWithError(dict.ptr(), key.ptr());
    if (found != nullptr) return py::reinterpret_borrow<py::object>(found);
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  }
  return {};
}

bool same_attribute(py::handle a, py::handle b, const char* name) {
  return attribute(a, name).ptr() == attribute(b, name).ptr();
}

/// Types whose objects are immutable or one of a kind: torch's and the standard library's. They live as long as Python.
const std::vector<PyTypeObject*>& atomic_types() {
  static const std::vector<PyTypeObject*> types = [] {
    std::vector<PyTypeObject*> result;
    const std::vector<std::pair<const char*, const char*>> names{{"torch", "dtype"},
                                                                 {"torch", "device"},
                                                                 {"torch", "layout"},
                                                                 {"torch", "memory_format"},
                                                                 {"torch", "qscheme"},
                                                                 {"torch", "Size"},
                                                                 {"re", "Pattern"},
                                                                 {"types", "ModuleType"},
                                                                 {"types", "BuiltinFunctionType"},
                                                                 {"types", "FunctionType"},
                                                                 {"types", "MethodDescriptorType"},
                                                                 {"types", "WrapperDescriptorType"},
                                                                 {"types", "CodeType"}};
    for (const auto& [module, name] : names) {
      result.push_back(reinterpret_cast<PyTypeObject*>(torch_class(module, name).release().ptr()));
    }
    return result;
  }();
  return types;
}

/// 0 if it has none. A type gets one when an attribute of it is first looked up.
unsigned version_of(PyTypeObject* type) {
  if (!PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG)) {
    py::hasattr(reinterpret_cast<PyObject*>(type), "__reduce_ex__");
  }
  return PyType_HasFeature(type, Py_TPFLAGS_VALID_VERSION_TAG) ? type->tp_version_tag : 0;
}

/// A text that a function or a class has, as its module; empty if it has none, or anything else there.
std::string text_of(py::handle it, const char* name) {
  const py::object text = py::getattr(it, name, py::str());
  return PyUnicode_Check(text.ptr()) ? text.cast<std::string>() : std::string();
}

std::string module_of(py::handle function) { return text_of(function, "__module__"); }

/// Found when first asked for; it lives as long as Python.
PyTypeObject* optimizer_type() {
  static PyObject* const type = torch_class("torch.optim", "Optimizer").release().ptr();
  return reinterpret_cast<PyTypeObject*>(type);
}

/// Whether torch.nn.utils.parametrize made the class, and its __deepcopy__, which is a plain one. Its __getstate__ only
/// raises.
bool is_parametrized(py::handle type) {
  static PyObject* const name = PyUnicode_InternFromString("__deepcopy__");
  PyObject* own = PyDict_GetItemWithError(own_dict(type.ptr()).ptr(), name);
  if (own == nullptr) return false;
  const auto text = [&](const char* key) { return py::str(py::getattr(own, key, py::str())).cast<std::string>(); };
  return text("__module__") == "torch.nn.utils.parametrize" &&
         text("__qualname__") == "_inject_new_class.<locals>.default_deepcopy";
}

/// Whether a base that is built in holds something beside the __dict__: a dict's items, an int's value.
bool has_contents(PyTypeObject* type) {
  if (type->tp_itemsize != 0) return true;
  for (PyTypeObject* base = type; base != nullptr; base = base->tp_base) {
    if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE) && base != &PyBaseObject_Type) return true;
  }
  return false;
}

/// Whether FullyShardedDataParallel wraps it, or fully_shard has changed its class.
bool is_sharded(py::handle type) {
  const py::tuple bases = type.attr("__mro__");
  return std::ranges::any_of(bases,
                             [](py::handle base) { return module_of(base).starts_with("torch.distributed.fsdp"); });
}

}  // namespace

py::object torch_class(const char* module, const char* name) { return py::module_::import(module).attr(name); }

bool is_hooks(PyObject* key) {
  if (!PyUnicode_CheckExact(key)) return false;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(key, &size);
  if (text == nullptr) return PyErr_Clear(), false;
  static constexpr std::string_view names[] = {"_forward_hooks",
                                               "_forward_pre_hooks",
                                               "_backward_hooks",
                                               "_backward_pre_hooks",
                                               "_state_dict_hooks",
                                               "_state_dict_pre_hooks",
                                               "_load_state_dict_pre_hooks",
                                               "_load_state_dict_post_hooks"};
  return std::ranges::find(names, std::string_view(text, size)) != std::end(names);
}

bool is_hook_wrapper(PyObject* object) {
  const std::string_view type = Py_TYPE(object)->tp_name;
  return type == "functools.partial" || type == "_WrappedHook";
}

/// What never changes while Python lives.
struct Types::Known {
  Known()
      : enum_class(torch_class("enum", "Enum")),
        copyreg(py::module_::import("copyreg")),
        dispatch_table(copyreg.attr("dispatch_table")),
        module(torch_class("torch.nn", "Module")),
        scripted(torch_class("torch.jit", "ScriptModule")),
        tensor(torch_class("torch", "Tensor")),
        parameter(torch_class("torch.nn", "Parameter")) {
    const auto add = [&](PyTypeObject& type, Shape shape) { facts[&type].shape = shape; };
    for (PyTypeObject* type : {Py_TYPE(Py_None), &PyBool_Type, &PyLong_Type, &PyFloat_Type, &PyComplex_Type,
                               &PyUnicode_Type, &PyBytes_Type, &PyType_Type, &PyFunction_Type, &PyCFunction_Type,
                               &PyRange_Type, &PyProperty_Type, Py_TYPE(Py_Ellipsis), Py_TYPE(Py_NotImplemented)}) {
      add(*type, Shape::atomic);
    }
    for (PyTypeObject* type : atomic_types()) add(*type, Shape::atomic);
    add(PyList_Type, Shape::list);
    add(PyTuple_Type, Shape::tuple);
    add(PyDict_Type, Shape::dict);
    add(PyODict_Type, Shape::ordered_dict);
    add(PySet_Type, Shape::set);
    add(PyMethod_Type, Shape::method);
    for (const char* name : {"ReferenceType", "ProxyType", "CallableProxyType"}) {
      add(*reinterpret_cast<PyTypeObject*>(torch_class("weakref", name).ptr()), Shape::weak);
    }
  }

  py::object enum_class, copyreg, dispatch_table, module, scripted, tensor, parameter;
  ska::flat_hash_map<PyTypeObject*, TypeFacts> facts;
};

const Types::Known& Types::known() {
  static const auto* const it = new Known;
  return *it;
}

bool Types::is_atomic(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  if (object == Py_None || type == &PyBool_Type || type == &PyLong_Type || type == &PyUnicode_Type ||
      type == &PyFloat_Type) {
    return true;
  }
  if (type == &PyODict_Type || type == &PyDict_Type || type == &PySet_Type || type == &PyList_Type) return false;
  if (type == &PyTuple_Type) {
    const RecursionGuard guard;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(object); ++i) {
      if (!is_atomic(PyTuple_GET_ITEM(object, i))) return false;
    }
    return true;
  }
  if (type == &PyFrozenSet_Type) {
    const RecursionGuard guard;
    for (const py::handle item : py::reinterpret_borrow<py::object>(object)) {
      if (!is_atomic(item.ptr())) return false;
    }
    return true;
  }
  return of(type).shape == Shape::atomic;
}

// Looking at a type takes longer than cloning a module of it. What was seen holds as long as the type has the version
// that it had: a change of it or of a base gives it another, which no other type ever has.
TypeFacts Types::look_up(PyTypeObject* type) {
  if (const auto it = known().facts.find(type); it != known().facts.end()) return it->second;
  if (const auto it = facts_.find(type); it != facts_.end()) return it->second;
  struct Seen {
    unsigned version = 0;
    TypeFacts facts;
  };
  constexpr std::size_t most = 4096;
  static auto& seen = *new ska::flat_hash_map<PyTypeObject*, Seen>;  // by leave of the GIL
  // What copyreg's table says of it can change without that.
  const bool listed = known().dispatch_table.contains(py::handle(reinterpret_cast<PyObject*>(type)));
  const unsigned version = listed ? 0 : version_of(type);
  if (version == 0) return facts_[type] = inspect(type);
  const auto it = seen.find(type);
  if (it != seen.end() && it->second.version == version) return facts_[type] = it->second.facts;
  const TypeFacts facts = inspect(type);
  if (seen.size() == most) seen.clear();
  if (type->tp_version_tag == version) seen[type] = {version, facts};
  return facts_[type] = facts;
}

TypeFacts Types::inspect(PyTypeObject* type) const {
  const py::handle object(reinterpret_cast<PyObject*>(type));
  TypeFacts facts;
  const auto subclass = [&](const py::object& of) {
    return PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(of.ptr())) != 0;
  };
  if (PyType_IsSubtype(type, &PyType_Type) || subclass(known().enum_class)) {
    facts.shape = Shape::atomic;
    return facts;
  }
  if (subclass(known().tensor)) return inspect_tensor(object, facts);
  if (subclass(known().module)) return inspect_module(object, facts);
  facts.ask_instance = bool(attribute(object, "__getattr__"));
  facts.is_optimizer = PyType_IsSubtype(type, optimizer_type()) != 0;
  if (attribute(object, "__deepcopy__")) {
    facts.shape = Shape::leaf;
  } else if (reduces_by_default(object) && only_dict(object) && type->tp_new == PyBaseObject_Type.tp_new) {
    const py::object setstate = attribute(object, "__setstate__");
    // torch's own ones add entries that old pickles lack.
    facts.setstate = facts.is_optimizer && !module_of(setstate).starts_with("torch.optim.");
    if (!setstate || facts.is_optimizer) facts.shape = Shape::plain;
  }
  return facts;
}

// The default __reduce_ex__ over the default __getstate__ (object's own, from Python 3.11 on). An optimizer's drops its
// hooks and what a scheduler has done to it.
bool Types::reduces_by_default(py::handle type) const {
  const py::handle object(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  const py::handle optimizer(reinterpret_cast<PyObject*>(optimizer_type()));
  return same_attribute(type, object, "__reduce_ex__") && same_attribute(type, object, "__reduce__") &&
         (same_attribute(type, object, "__getstate__") || same_attribute(type, known().module, "__getstate__") ||
          same_attribute(type, optimizer, "__getstate__")) &&
         !attribute(type, "__getnewargs__") && !attribute(type, "__getnewargs_ex__") &&
         !known().dispatch_table.contains(type);
}

// An instance is its __dict__ and nothing else: no __slots__, no built-in base with contents of its own.
bool Types::only_dict(py::handle type) const {
  auto* const object = reinterpret_cast<PyTypeObject*>(type.ptr());
  if (has_contents(object) || object->tp_dictoffset == 0) return false;
  // copyreg keeps what it has found in the class itself.
  static PyObject* const name = PyUnicode_InternFromString("__slotnames__");
  PyObject* kept = PyDict_GetItemWithError(own_dict(type.ptr()).ptr(), name);
  return py::len(kept != nullptr ? py::reinterpret_borrow<py::object>(kept)
                                 : known().copyreg.attr("_slotnames")(type)) == 0;
}

TypeFacts Types::inspect_module(py::handle type, TypeFacts facts) const {
  facts.is_module = true;
  facts.ask_instance = !same_attribute(type, known().module, "__getattr__");
  facts.parametrized = is_parametrized(type);
  facts.sharded = is_sharded(type);
  if (PyObject_IsSubclass(type.ptr(), known().scripted.ptr()) == 1) {
    facts.shape = Shape::scripted;
    return facts;
  }
  if (!facts.parametrized && attribute(type, "__deepcopy__")) {
    facts.shape = Shape::leaf;
    return facts;
  }
  const py::handle object(reinterpret_cast<PyObject*>(&PyBaseObject_Type));
  const bool reduces = same_attribute(type, object, "__reduce_ex__") && same_attribute(type, object, "__reduce__") &&
                       !attribute(type, "__getnewargs__") && !attribute(type, "__getnewargs_ex__") &&
                       !known().dispatch_table.contains(type);
  if (!reduces || has_contents(reinterpret_cast<PyTypeObject*>(type.ptr()))) {
    facts.shape = Shape::leaf;
    return facts;
  }
  facts.shape = Shape::module;
  facts.getstate = !facts.parametrized && !same_attribute(type, known().module, "__getstate__");
  // torch.nn's own ones add attributes that old pickles lack, but an RNN's sets up its flat weights.
  const py::object setstate = attribute(type, "__setstate__");
  const std::string module = module_of(setstate);
  const std::string qualified = text_of(setstate, "__qualname__");
  // Once anything was compiled, Dynamo has put one of its own, which notes the module's age, into Module.
  const bool torchs_own = module.starts_with("torch._dynamo.") ||
                          (module.starts_with("torch.nn.modules.") && !qualified.starts_with("RNNBase."));
  facts.setstate = facts.getstate || !torchs_own;
  return facts;
}

TypeFacts Types::inspect_tensor(py::handle type, TypeFacts facts) const {
  facts.is_tensor = true;
  const bool own_deepcopy =
      !same_attribute(type, known().tensor, "__deepcopy__") && !same_attribute(type, known().parameter, "__deepcopy__");
  facts.shape = own_deepcopy ? Shape::leaf : Shape::tensor;
  return facts;
}

}  // namespace ramet::python
