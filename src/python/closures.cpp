/// Looks through the cells of a function, and of functions in these, for the object whose clone it is to be.
#include "python/closures.h"

#include <unordered_map>

#include "python/flat.h"

namespace ramet::python {
namespace {

/// Functions within functions, each looked into once.
class Closures {
 public:
  Closures(const py::object& source, const py::object& made) : source_(source), made_(made) {}

  /// What stands for `held` on the clone's side; null if `held` does not refer to the source.
  py::object rebound(PyObject* held) {
    if (held == nullptr) return {};
    if (held == source_.ptr()) return made_;
    if (PyFunction_Check(held)) return rebound_function(py::reinterpret_borrow<py::object>(held));
    if (PyWeakref_CheckRefExact(held)) return referent(held).is(source_) ? weak_like(held, made_) : py::object();
    if (!PyMethod_Check(held)) return {};
    PyObject* self = PyMethod_GET_SELF(held);
    const py::object function = rebound(PyMethod_GET_FUNCTION(held));
    if (self != source_.ptr() && !(function && self == made_.ptr())) return {};
    return steal(PyMethod_New(function ? function.ptr() : PyMethod_GET_FUNCTION(held), made_.ptr()));
  }

 private:
  py::object rebound_function(const py::object& function) {
    PyObject* closure = PyFunction_GetClosure(function.ptr());
    const auto [known, added] = met_.try_emplace(function.ptr());
    if (closure == nullptr || !added) return known->second;
    py::tuple cells(PyTuple_GET_SIZE(closure));
    bool refers = false;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const auto cell = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(closure, i));
      const py::object content = rebound(PyCell_GET(cell.ptr()));
      refers = refers || content;
      cells[i] = content ? steal(PyCell_New(content.ptr())) : cell;
    }
    if (!refers) return {};
    const py::object copy = py::type::of(function)(function.attr("__code__"), function.attr("__globals__"),
                                                   function.attr("__name__"), function.attr("__defaults__"), cells);
    py::module_::import("functools").attr("update_wrapper")(copy, function);
    copy.attr("__kwdefaults__") = function.attr("__kwdefaults__");
    copy.attr("__dict__") = function.attr("__dict__").attr("copy")();  // without the __wrapped__ that was added
    return met_[function.ptr()] = copy;
  }

  const py::object &source_, &made_;
  std::unordered_map<PyObject*, py::object> met_;  // functions, and what became of them
};

}  // namespace

void rebind_functions(const py::object& source, const py::object& made) {
  const py::object dict = made.attr("__dict__");
  Closures closures(source, made);
  for (const auto& [key, held] : py::dict(dict.attr("copy")())) {
    if (!PyFunction_Check(held.ptr()) && !PyMethod_Check(held.ptr())) continue;
    if (const py::object own = closures.rebound(held.ptr())) dict[key] = own;
  }
}

}  // namespace ramet::python
