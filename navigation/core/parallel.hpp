// A fixed number of chunks, however many threads run them, so that sums do not depend on the machine.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <functional>
#include <thread>
#include <vector>

namespace gammanav {

inline constexpr std::size_t kChunks = 8;

// Calls work(chunk) for chunk = 0 .. kChunks - 1. Threads sleep in join; none of them spins.
inline void for_chunks(int threads, const std::function<void(std::size_t)>& work) {
    const int wanted = std::clamp(threads, 1, static_cast<int>(kChunks));
    std::atomic<std::size_t> next{0};
    auto run = [&] {
        for (std::size_t chunk = next++; chunk < kChunks; chunk = next++) work(chunk);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < wanted; ++i) others.emplace_back(run);
    run();
    for (auto& t : others) t.join();
}

inline std::size_t chunk_begin(std::size_t chunk, std::size_t total) {
    return chunk * total / kChunks;
}

}  // namespace gammanav
