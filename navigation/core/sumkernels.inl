// Many sums over the same rows, compiled once per instruction set by the kernels_*.cpp files.
#include "halfrow.hpp"
#include "lanes.hpp"

namespace gammanav {
namespace {

#if defined(__AVX512F__)
// Rows, and images, whose vectors fit the registers together.
constexpr int kSumRowsAtOnce = 8, kDotRows = 4, kDotImages = 4;
#else
constexpr int kSumRowsAtOnce = 4, kDotRows = 2, kDotImages = 2;
#endif

template <int K>
GAMMANAV_INLINE void add_some(const SumTask& t, std::size_t first, std::size_t j) {
    Lanes row[K];
    for (int r = 0; r < K; ++r) row[r] = load_half(t.rows[first + r] + j);
    float* target = t.sums + j;
    for (std::size_t b = 0; b < t.n_linear; ++b, target += t.pitch) {
        const float* factor = t.linear + b * t.k + first;
        Lanes sum = load(target);
        for (int r = 0; r < K; ++r) sum = sum + splat(factor[r]) * row[r];
        store(target, sum);
    }
    if (t.square == nullptr) return;
    Lanes square = load(target), cube = load(target + t.pitch);
    for (int r = 0; r < K; ++r) {
        const Lanes two = row[r] * row[r];
        square = square + splat(t.square[first + r]) * two;
        cube = cube + splat(t.cube[first + r]) * (two * row[r]);
    }
    store(target, square);
    store(target + t.pitch, cube);
}

void add_powers(const SumTask& t) {
    std::size_t r = 0;
    for (; r + kSumRowsAtOnce <= t.k; r += kSumRowsAtOnce)
        for (std::size_t j = 0; j < t.length; j += kLanes) add_some<kSumRowsAtOnce>(t, r, j);
    for (; r < t.k; ++r)
        for (std::size_t j = 0; j < t.length; j += kLanes) add_some<1>(t, r, j);
}

template <int K, int B>
GAMMANAV_INLINE void dots_some(const std::uint16_t* const* rows, const float* images, std::size_t pitch,
                               std::size_t length, float* out, std::size_t out_pitch) {
    Lanes sum[K][B];
    for (int r = 0; r < K; ++r)
        for (int b = 0; b < B; ++b) sum[r][b] = splat(0.0f);
    for (std::size_t j = 0; j < length; j += kLanes) {
        Lanes image[B];
        for (int b = 0; b < B; ++b) image[b] = load(images + static_cast<std::size_t>(b) * pitch + j);
        for (int r = 0; r < K; ++r) {
            const Lanes row = load_half(rows[r] + j);
            for (int b = 0; b < B; ++b) sum[r][b] = sum[r][b] + row * image[b];
        }
    }
    for (int r = 0; r < K; ++r)
        for (int b = 0; b < B; ++b) out[static_cast<std::size_t>(r) * out_pitch + b] = sum_of(sum[r][b]);
}

template <int K>
GAMMANAV_INLINE void dots_rows(const std::uint16_t* const* rows, const float* images, std::size_t n,
                               std::size_t pitch, std::size_t length, float* out) {
    std::size_t b = 0;
    for (; b + kDotImages <= n; b += kDotImages)
        dots_some<K, kDotImages>(rows, images + b * pitch, pitch, length, out + b, n);
    for (; b < n; ++b) dots_some<K, 1>(rows, images + b * pitch, pitch, length, out + b, n);
}

void dots(const std::uint16_t* const* rows, std::size_t k, const float* images, std::size_t n, std::size_t pitch,
          std::size_t length, float* out) {
    std::size_t r = 0;
    for (; r + kDotRows <= k; r += kDotRows) dots_rows<kDotRows>(rows + r, images, n, pitch, length, out + r * n);
    for (; r < k; ++r) dots_rows<1>(rows + r, images, n, pitch, length, out + r * n);
}

}  // namespace
}  // namespace gammanav
