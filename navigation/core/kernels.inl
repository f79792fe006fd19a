// The half-row kernels, compiled once per instruction set by the kernels_*.cpp files.
#include "halfrow.hpp"
#include "lanes.hpp"

namespace gammanav {
namespace {

// Columns whose products are summed in single precision: the sum's relative error stays below 4096 / 16 + 4 roundings.
constexpr std::size_t kDotBlock = 4096;

template <int K>
GAMMANAV_INLINE void dot_some(const std::uint16_t* const* rows, const float* x, std::size_t length, float* out) {
    double total[K] = {};
    for (std::size_t from = 0; from < length; from += kDotBlock) {
        const std::size_t to = from + kDotBlock < length ? from + kDotBlock : length;
        Lanes sum[K];
        for (int r = 0; r < K; ++r) sum[r] = splat(0.0f);
        for (std::size_t j = from; j < to; j += kLanes) {
            const Lanes at = load(x + j);
            for (int r = 0; r < K; ++r) sum[r] = sum[r] + load_half(rows[r] + j) * at;
        }
        for (int r = 0; r < K; ++r) total[r] += static_cast<double>(sum_of(sum[r]));
    }
    for (int r = 0; r < K; ++r) out[r] = static_cast<float>(total[r]);
}

void dot(const std::uint16_t* const* rows, std::size_t k, const float* x, std::size_t length, float* out) {
    std::size_t r = 0;
    for (; r + 4 <= k; r += 4) dot_some<4>(rows + r, x, length, out + r);
    for (; r < k; ++r) dot_some<1>(rows + r, x, length, out + r);
}

template <int K>
GAMMANAV_INLINE void axpy_some(const std::uint16_t* const* rows, const float* a, float* y, std::size_t length) {
    Lanes factor[K];
    for (int r = 0; r < K; ++r) factor[r] = splat(a[r]);
    for (std::size_t j = 0; j < length; j += kLanes) {
        Lanes sum = load(y + j);
        for (int r = 0; r < K; ++r) sum = sum + factor[r] * load_half(rows[r] + j);
        store(y + j, sum);
    }
}

void axpy(const std::uint16_t* const* rows, const float* a, std::size_t k, float* y, std::size_t length) {
    std::size_t r = 0;
    for (; r + 8 <= k; r += 8) axpy_some<8>(rows + r, a + r, y, length);
    for (; r + 4 <= k; r += 4) axpy_some<4>(rows + r, a + r, y, length);
    for (; r < k; ++r) axpy_some<1>(rows + r, a + r, y, length);
}

template <int K>
GAMMANAV_INLINE void axpy_two_some(const std::uint16_t* const* rows, const float* a, const float* b, float* y,
                                   float* z, std::size_t length) {
    for (std::size_t j = 0; j < length; j += kLanes) {
        Lanes sum = load(y + j), other = load(z + j);
        for (int r = 0; r < K; ++r) {
            const Lanes row = load_half(rows[r] + j);
            sum = sum + splat(a[r]) * row;
            other = other + splat(b[r]) * row;
        }
        store(y + j, sum);
        store(z + j, other);
    }
}

void axpy_two(const std::uint16_t* const* rows, const float* a, const float* b, std::size_t k, float* y, float* z,
              std::size_t length) {
    std::size_t r = 0;
    for (; r + 8 <= k; r += 8) axpy_two_some<8>(rows + r, a + r, b + r, y, z, length);
    for (; r + 4 <= k; r += 4) axpy_two_some<4>(rows + r, a + r, b + r, y, z, length);
    for (; r < k; ++r) axpy_two_some<1>(rows + r, a + r, b + r, y, z, length);
}

void pack(const float* row, float factor, std::uint16_t* target, std::size_t m) {
    const Lanes f = splat(factor);
    std::size_t j = 0;
    for (; j + kLanes <= m; j += kLanes) store_half(target + j, larger(load(row + j) * f, splat(0.0f)));
    if (j == m) return;
    float rest[kLanes] = {};
    std::uint16_t half[kLanes];
    std::memcpy(rest, row + j, (m - j) * sizeof(float));
    store_half(half, larger(load(rest) * f, splat(0.0f)));
    std::memcpy(target + j, half, (m - j) * sizeof(std::uint16_t));
}

void widen(const std::uint16_t* row, float factor, float* target, std::size_t m) {
    const Lanes f = splat(factor);
    std::size_t j = 0;
    for (; j + kLanes <= m; j += kLanes) store(target + j, load_half(row + j) * f);
    if (j == m) return;
    std::uint16_t rest[kLanes] = {};
    float wide[kLanes];
    std::memcpy(rest, row + j, (m - j) * sizeof(std::uint16_t));
    store(wide, load_half(rest) * f);
    std::memcpy(target + j, wide, (m - j) * sizeof(float));
}

}  // namespace
}  // namespace gammanav
