// One update of the live map from some rows of the store: the newest and a sample of the older ones, each with the
// weight of what it stands for. The cost follows the number of rows named, not the length of the scan.
#include <algorithm>
#include <vector>

#include "core.hpp"
#include "counter.hpp"
#include "halfrow.hpp"
#include "parallel.hpp"

namespace gammanav {
namespace {

// Sums of gain and loss of each chunk side by side; kept from call to call, for fresh memory is slow.
std::vector<float>& scratch(std::size_t size) {
    thread_local std::vector<float> kept;
    if (kept.size() < size) kept.resize(size);
    return kept;
}

void sum_rows(const EmData& d, const RowSample& sample, std::size_t low, std::size_t high, const float* x,
              float* gain, float* loss) {
    const auto& k = kernels();
    std::fill(gain, gain + d.stride, 0.0f);
    std::fill(loss, loss + d.stride, 0.0f);
    for (std::size_t i = low; i < high; i += kRowGroup) {
        const std::size_t size = std::min(kRowGroup, high - i);
        const std::uint16_t* data[kRowGroup];
        float rate[kRowGroup], up[kRowGroup], down[kRowGroup];
        for (std::size_t r = 0; r < size; ++r)
            data[r] = d.packed + static_cast<std::size_t>(sample.rows[i + r]) * d.stride;
        k.dot(data, size, x, d.stride, rate);
        for (std::size_t r = 0; r < size; ++r) {
            const auto row = static_cast<std::size_t>(sample.rows[i + r]);
            const float factor = d.scales[row] * sample.weights[i + r];
            const RowWeights w =
                em_weights(d.counter, d.scales[row] * rate[r], d.counts[row], d.live[row], d.saturated[row]);
            up[r] = factor * w.gain;
            down[r] = factor * w.loss;
        }
        k.axpy_two(data, up, down, size, gain, loss, d.stride);
    }
}

}  // namespace

void em_sample(const EmData& d, const RowSample& sample, const float* prior, float strength, float relaxation,
               float* x, int threads) {
    // Two chunks whatever the machine: the sums are as long as a row, and a tick has few rows.
    constexpr std::size_t kHalves = 2;
    std::vector<float>& kept = scratch(2 * kHalves * d.stride);
    float *gain = kept.data(), *loss = gain + kHalves * d.stride;
    for_parts(threads, kHalves, [&](std::size_t part) {
        sum_rows(d, sample, chunk_begin(part, sample.n, kHalves), chunk_begin(part + 1, sample.n, kHalves), x,
                 gain + part * d.stride, loss + part * d.stride);
    });
    for_chunks(threads, [&](std::size_t part) {
        const std::size_t low = column_begin(part, d.stride, kChunks, kPad);
        const std::size_t high = column_begin(part + 1, d.stride, kChunks, kPad);
        for (std::size_t j = low; j < high; ++j) {
            const float up = gain[j] + gain[d.stride + j], below = loss[j] + loss[d.stride + j] + strength;
            // Without a prior a voxel that no row of this sample sees stays as it is.
            if (below > 0.0f) x[j] += relaxation * ((x[j] * up + strength * prior[j]) / below - x[j]);
        }
    });
}

}  // namespace gammanav
