// Work in a fixed number of parts, however many threads run them: sums that follow the parts do not depend on the
// machine. The threads are the process's own, are started once and sleep between jobs; none of them spins.
#pragma once

#include <cstddef>
#include <functional>

namespace gammanav {

inline constexpr std::size_t kChunks = 8;

// Calls work(part) once for each part = 0 .. parts - 1, on the calling thread and up to threads - 1 others, and returns
// when all are done. May be called from several threads at once, and in a forked child (which gets threads of its
// own). What `work` throws first is thrown here, after the other parts.
void for_parts(int threads, std::size_t parts, const std::function<void(std::size_t)>& work);

// The same over kChunks parts.
inline void for_chunks(int threads, const std::function<void(std::size_t)>& work) {
    for_parts(threads, kChunks, work);
}

// Where part `chunk` of `chunks` of a range begins; that of `chunks` itself is the end.
inline std::size_t chunk_begin(std::size_t chunk, std::size_t total, std::size_t chunks = kChunks) {
    return chunk * total / chunks;
}

// The same for padded columns: every border is a multiple of `unit`.
inline std::size_t column_begin(std::size_t chunk, std::size_t total, std::size_t chunks, std::size_t unit) {
    return chunk_begin(chunk, total / unit, chunks) * unit + (chunk == chunks ? total % unit : 0);
}

}  // namespace gammanav
