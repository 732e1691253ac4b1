/// Runs work in several threads at once.
#pragma once

#include <barrier>
#include <thread>
#include <vector>

namespace ramet {

/// Runs `work(thread)` in `n` threads that begin at the same time.
template <class Work>
void in_threads(int n, const Work& work) {
  std::barrier start(n);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < n; ++thread) {
    threads.emplace_back([&, thread] {
      start.arrive_and_wait();
      work(thread);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace ramet
