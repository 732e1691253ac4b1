/// What an example program claims, printed and checked, and how long a thing takes. The program exits with 1 if a claim
/// does not hold.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <string>
#include <vector>

class Claims {
 public:
  void check(const std::string& claim, bool holds) {
    std::cout << (holds ? "  ok   " : "  FAIL ") << claim << '\n';
    failed_ += !holds;
  }

  int exit_code() const {
    std::cout << (failed_ == 0 ? "every claim holds" : std::to_string(failed_) + " claims do not hold") << '\n';
    return failed_ == 0 ? 0 : 1;
  }

 private:
  int failed_ = 0;
};

/// Begins a program: with a seed, and in one thread, since its layers are small. Gives how many steps it trains.
inline int begin(int argc, char** argv, int small, int whole) {
  torch::manual_seed(1);
  torch::set_num_threads(1);
  return argc > 1 && std::string(argv[1]) == "--small" ? small : whole;
}

/// The median of nine calls, in milliseconds.
template <class Call>
double milliseconds(const Call& call) {
  std::vector<double> taken(9);
  for (double& it : taken) {
    const auto start = std::chrono::steady_clock::now();
    call();
    it = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  std::nth_element(taken.begin(), taken.begin() + 4, taken.end());
  return taken[4];
}

/// Copies of all parameters, to compare with later.
inline std::vector<torch::Tensor> weights(const torch::nn::Module& module) {
  std::vector<torch::Tensor> result;
  for (const auto& tensor : module.parameters()) result.push_back(tensor.detach().clone());
  return result;
}

/// Of all parameters and buffers.
inline std::vector<torch::Tensor> values(const torch::nn::Module& module) {
  std::vector<torch::Tensor> result = weights(module);
  for (const auto& tensor : module.buffers()) result.push_back(tensor.clone());
  return result;
}

/// Whether these are equal to the bit.
inline bool equal(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const torch::Tensor& x, const torch::Tensor& y) { return x.equal(y); });
}
