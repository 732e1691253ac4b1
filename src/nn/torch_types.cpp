/// Brings the families together.
#include "nn/torch_types.h"

bool ramet::nn::enroll_torch_types() {
  enroll_containers();
  enroll_layers();
  enroll_losses();
  enroll_memberless();
  enroll_recurrent();
  enroll_transformers();
  return true;
}
