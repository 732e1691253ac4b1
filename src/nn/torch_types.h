/// LibTorch's own modules: their member lists, one source file a family.
#pragma once

#include <ramet/fields.h>

namespace ramet::nn {

/// Enrols every type below. Returns true.
bool enroll_torch_types();

void enroll_containers();
void enroll_layers();
void enroll_losses();
void enroll_memberless();
void enroll_recurrent();
void enroll_transformers();

template <class... Ts>
void enroll_all() {
  (detail::enroll_type<Ts>(), ...);
}

}  // namespace ramet::nn
