// Passes that make many sums of one read of the rows: score and information maps, and many images or weightings.
#include <algorithm>
#include <vector>

#include "core.hpp"
#include "halfrow.hpp"
#include "parallel.hpp"

namespace gammanav {
namespace {

// Columns and sums whose running totals stay in the second cache.
constexpr std::size_t kTile = 4096, kSumsAtOnce = 32;
// Rows that are added up in single precision before they join the total in double.
constexpr std::size_t kSumRows = 256;
// Rows that share the images in the second cache.
constexpr std::size_t kRowsPerPart = 32;

struct Rows {
    const std::uint16_t* packed;
    const float* scales;
    std::size_t n, stride;
};

// Factors of kSumRows rows with the rows' scales folded in, sum by sum.
struct Factors {
    std::vector<float> linear, square, cube;
    std::vector<const std::uint16_t*> rows;

    void take(const Rows& a, const RowSums& s, std::size_t low, std::size_t high, std::size_t from, std::size_t to,
              std::size_t column) {
        const std::size_t k = high - low;
        linear.resize((to - from) * k), square.resize(k), cube.resize(k), rows.resize(k);
        for (std::size_t i = 0; i < k; ++i) {
            const float scale = a.scales[low + i];
            rows[i] = a.packed + (low + i) * a.stride + column;
            for (std::size_t b = from; b < to; ++b)
                linear[(b - from) * k + i] = s.linear[(low + i) * s.n_linear + b] * scale;
            if (s.square == nullptr) continue;
            square[i] = s.square[low + i] * scale * scale;
            cube[i] = s.cube[low + i] * scale * scale * scale;
        }
    }
};

// The linear sums from .. to, and with `powers` the squares and cubes, in the columns of one tile.
void sum_tile(const Rows& a, const RowSums& s, std::size_t from, std::size_t to, bool powers, std::size_t column,
              double* out) {
    const std::size_t width = std::min(kTile, a.stride - column), n = to - from + (powers ? 2 : 0);
    std::vector<float> sums(n * width);
    Factors f;
    for (std::size_t low = 0; low < a.n; low += kSumRows) {
        const std::size_t high = std::min(low + kSumRows, a.n);
        f.take(a, s, low, high, from, to, column);
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (std::size_t i = 0; i < high - low; i += kRowGroup) {
            const std::size_t k = std::min(kRowGroup, high - low - i);
            std::vector<float>& linear = f.linear;
            float group[kSumsAtOnce * kRowGroup];
            for (std::size_t b = 0; b < to - from; ++b)
                std::copy_n(linear.data() + b * (high - low) + i, k, group + b * k);
            kernels().add_powers({f.rows.data() + i, k, width, group, to - from, powers ? f.square.data() + i : nullptr,
                                  f.cube.data() + i, sums.data(), width});
        }
        for (std::size_t b = 0; b < n; ++b) {
            double* target = out + (b < to - from ? from + b : s.n_linear + b - (to - from)) * a.stride + column;
            for (std::size_t j = 0; j < width; ++j) target[j] += static_cast<double>(sums[b * width + j]);
        }
    }
}

}  // namespace

void sum_rows(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride, const RowSums& s,
              double* out, int threads) {
    const Rows a{packed, scales, n, stride};
    std::fill(out, out + (s.n_linear + (s.square != nullptr ? 2 : 0)) * stride, 0.0);
    const std::size_t tiles = (stride + kTile - 1) / kTile;
    const std::size_t groups = std::max<std::size_t>((s.n_linear + kSumsAtOnce - 1) / kSumsAtOnce, 1);
    for_parts(threads, tiles * groups, [&](std::size_t part) {
        const std::size_t from = part % groups * kSumsAtOnce, to = std::min(from + kSumsAtOnce, s.n_linear);
        sum_tile(a, s, from, to, s.square != nullptr && from == 0, part / groups * kTile, out);
    });
}

void project_many(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride,
                  const float* images, std::size_t n_images, float* out, int threads) {
    for_parts(threads, (n + kRowsPerPart - 1) / kRowsPerPart, [&](std::size_t part) {
        const std::size_t low = part * kRowsPerPart, high = std::min(low + kRowsPerPart, n);
        std::vector<double> total((high - low) * n_images, 0.0);
        std::vector<float> partial(total.size());
        std::vector<const std::uint16_t*> rows(high - low);
        for (std::size_t column = 0; column < stride; column += kTile) {
            for (std::size_t i = low; i < high; ++i) rows[i - low] = packed + i * stride + column;
            kernels().dots(rows.data(), rows.size(), images + column, n_images, stride,
                           std::min(kTile, stride - column), partial.data());
            for (std::size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(partial[i]);
        }
        for (std::size_t i = 0; i < total.size(); ++i)
            out[low * n_images + i] = scales[low + i / n_images] * static_cast<float>(total[i]);
    });
}

std::uint64_t read_through(const std::uint64_t* values, std::size_t n, int threads) {
    std::uint64_t total[kChunks];
    for_chunks(threads, [&](std::size_t chunk) {
        std::uint64_t lanes[8] = {};
        std::size_t i = chunk_begin(chunk, n);
        const std::size_t end = chunk_begin(chunk + 1, n);
        for (; i + 8 <= end; i += 8)
            for (std::size_t l = 0; l < 8; ++l) lanes[l] += values[i + l];
        for (; i < end; ++i) lanes[0] += values[i];
        total[chunk] = 0;
        for (const std::uint64_t lane : lanes) total[chunk] += lane;
    });
    std::uint64_t sum = 0;
    for (const std::uint64_t part : total) sum += part;
    return sum;
}

}  // namespace gammanav
