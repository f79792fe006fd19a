// Float16 rows: packing, projections and list-mode EM. Rows are handled in groups: the dot products bring them into
// the cache, the sums take them from there.
#include <algorithm>
#include <atomic>
#include <bit>
#include <optional>
#include <vector>

#include "core.hpp"
#include "counter.hpp"
#include "halfrow.hpp"
#include "parallel.hpp"

namespace gammanav {
namespace {

// Columns of one tile of a back-projection: its sums stay in the first cache.
constexpr std::size_t kTile = 4096;
// Rows that are added up in single precision before they join the total.
constexpr std::size_t kSumRows = 512;
// A chunk of fewer rows costs more for its own sums than it gains.
constexpr std::size_t kLeastChunk = 64;
constexpr std::size_t kFewestChunks = 4;

// Sums of each chunk side by side; kept from call to call, for fresh memory is slow.
std::vector<float>& scratch(std::size_t size) {
    thread_local std::vector<float> kept;
    if (kept.size() < size) kept.resize(size);
    return kept;
}

struct Group {
    std::size_t size = 0;
    std::size_t row[kRowGroup];
    const std::uint16_t* data[kRowGroup];
};

Group group_of(const std::uint16_t* packed, std::size_t stride, std::size_t first, std::size_t end,
               std::size_t offset, std::size_t step) {
    Group g;
    for (std::size_t i = first; i < std::min(first + kRowGroup, end); ++i, ++g.size) {
        g.row[g.size] = offset + i * step;
        g.data[g.size] = packed + g.row[g.size] * stride;
    }
    return g;
}

// out[from..to) = sum of u[i] row i.
void back_project_columns(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride,
                          const float* u, std::size_t from, std::size_t to, float* out) {
    const auto& k = kernels();
    std::vector<float> sum(std::min(kTile, to - from));
    std::fill(out + from, out + to, 0.0f);
    for (std::size_t low = from; low < to; low += kTile) {
        const std::size_t width = std::min(kTile, to - low);
        for (std::size_t top = 0; top < n; top += kSumRows) {
            std::fill(sum.begin(), sum.end(), 0.0f);
            const std::size_t end = std::min(top + kSumRows, n);
            for (std::size_t i = top; i < end; i += kRowGroup) {
                Group g = group_of(packed + low, stride, i, end, 0, 1);
                float factor[kRowGroup];
                for (std::size_t r = 0; r < g.size; ++r) factor[r] = scales[i + r] * u[i + r];
                k.axpy(g.data, factor, g.size, sum.data(), width);
            }
            for (std::size_t j = 0; j < width; ++j) out[low + j] += sum[j];
        }
    }
}

// Gain and, unless it is known, loss of the rows [low, high) of a subset, at x.
struct Sums {
    float *gain, *loss;  // loss may be null: known
};

void em_rows(const EmData& d, std::size_t offset, std::size_t step, std::size_t low, std::size_t high,
             const float* x, const Sums& sums) {
    const auto& k = kernels();
    std::fill(sums.gain, sums.gain + d.stride, 0.0f);
    if (sums.loss != nullptr) std::fill(sums.loss, sums.loss + d.stride, 0.0f);
    for (std::size_t i = low; i < high; i += kRowGroup) {
        const Group g = group_of(d.packed, d.stride, i, high, offset, step);
        float rate[kRowGroup], gain[kRowGroup], loss[kRowGroup];
        k.dot(g.data, g.size, x, d.stride, rate);
        for (std::size_t r = 0; r < g.size; ++r) {
            const std::size_t row = g.row[r];
            const RowWeights w =
                em_weights(d.counter, d.scales[row] * rate[r], d.counts[row], d.live[row], d.saturated[row]);
            gain[r] = d.scales[row] * w.gain;
            loss[r] = d.scales[row] * w.loss;
        }
        if (sums.loss != nullptr)
            k.axpy_two(g.data, gain, loss, g.size, sums.gain, sums.loss, d.stride);
        else
            k.axpy(g.data, gain, g.size, sums.gain, d.stride);
    }
}

// Rows that rise no higher say nothing, and their factor would overflow.
constexpr float kLeastTop = 1e-30f;
constexpr std::uint32_t kInfinite = 0x7f800000, kMagnitude = 0x7fffffff;

// The row's scale; nothing where a value is not finite. As integers the bits of positive floats have their order.
std::optional<float> pack_row(const float* row, std::size_t m, std::uint16_t* target) {
    std::int32_t highest = 0;
    std::uint32_t farthest = 0;
    for (std::size_t j = 0; j < m; ++j) {
        const auto bits = std::bit_cast<std::uint32_t>(row[j]);
        highest = std::max(highest, static_cast<std::int32_t>(bits));
        farthest = std::max(farthest, bits & kMagnitude);
    }
    if (farthest >= kInfinite) return std::nullopt;
    const float top = std::bit_cast<float>(highest);
    const bool blank = !(top > kLeastTop);
    kernels().pack(row, blank ? 0.0f : kHalfTop / top, target, m);
    return blank ? 0.0f : top / kHalfTop;
}

}  // namespace

bool pack_rows(const float* rows, std::size_t n, std::size_t m, std::uint16_t* packed, std::size_t stride,
               float* scales, int threads) {
    std::atomic<bool> finite{true};
    for_parts(threads, n, [&](std::size_t i) {
        std::uint16_t* target = packed + i * stride;
        const std::optional<float> scale = pack_row(rows + i * m, m, target);
        if (!scale) finite.store(false, std::memory_order_relaxed);
        scales[i] = scale.value_or(0.0f);
        std::fill(target + (scale ? m : 0), target + stride, std::uint16_t{0});
    });
    return finite.load();
}

void merge_rows(std::uint16_t* packed, float* scales, std::size_t stride, const std::int64_t* members,
                const float* weights, std::size_t k, std::size_t target) {
    std::vector<float> sum(stride, 0.0f);
    for (std::size_t r = 0; r < k; ++r) {
        const std::uint16_t* row = packed + static_cast<std::size_t>(members[r]) * stride;
        const float factor = weights[r] * scales[members[r]];
        kernels().axpy(&row, &factor, 1, sum.data(), stride);
    }
    scales[target] = pack_row(sum.data(), stride, packed + target * stride).value_or(0.0f);
}

void project(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride, const float* x,
             float* out, int threads) {
    const std::size_t groups = (n + kRowGroup - 1) / kRowGroup;
    for_parts(threads, groups, [&](std::size_t part) {
        const Group g = group_of(packed, stride, part * kRowGroup, n, 0, 1);
        float* target = out + part * kRowGroup;
        kernels().dot(g.data, g.size, x, stride, target);
        for (std::size_t r = 0; r < g.size; ++r) target[r] *= scales[g.row[r]];
    });
}

void back_project(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride,
                  const float* u, float* out, int threads) {
    for_chunks(threads, [&](std::size_t chunk) {
        back_project_columns(packed, scales, n, stride, u, column_begin(chunk, stride, kChunks, kPad),
                             column_begin(chunk + 1, stride, kChunks, kPad), out);
    });
}

void em_subset(const EmData& d, std::size_t offset, std::size_t step, const float* prior, float strength,
               bool known, float* x, float* sensitivity, int threads) {
    const std::size_t mine = offset < d.n ? (d.n - offset + step - 1) / step : 0;
    const std::size_t chunks = std::clamp(mine / kLeastChunk, kFewestChunks, kChunks);
    std::vector<float>& kept = scratch((known ? 1 : 2) * chunks * d.stride);
    float *gain = kept.data(), *loss = known ? nullptr : gain + chunks * d.stride;
    for_parts(threads, chunks, [&](std::size_t chunk) {
        em_rows(d, offset, step, chunk_begin(chunk, mine, chunks), chunk_begin(chunk + 1, mine, chunks), x,
                {gain + chunk * d.stride, known ? nullptr : loss + chunk * d.stride});
    });
    for_chunks(threads, [&](std::size_t part) {
        const std::size_t low = column_begin(part, d.stride, kChunks, kPad);
        const std::size_t high = column_begin(part + 1, d.stride, kChunks, kPad);
        for (std::size_t c = 1; c < chunks; ++c)
            for (std::size_t j = low; j < high; ++j) gain[j] += gain[c * d.stride + j];
        if (!known) {
            std::copy(loss + low, loss + high, sensitivity + low);
            for (std::size_t c = 1; c < chunks; ++c)
                for (std::size_t j = low; j < high; ++j) sensitivity[j] += loss[c * d.stride + j];
        }
        for (std::size_t j = low; j < high; ++j) {
            const float below = sensitivity[j] + strength;
            x[j] = below > 0.0f ? (x[j] * gain[j] + strength * prior[j]) / below : 0.0f;
        }
    });
}

}  // namespace gammanav
