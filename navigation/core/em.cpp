// List-mode EM over float16 rows. Each kernel exists once as a template over a small vector type; the
// instruction set is chosen at run time.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core.hpp"
#include "parallel.hpp"

namespace gammanav {
namespace {

// Largest value a packed row may hold: below the float16 maximum of 65504, so that rounding cannot overflow.
constexpr float kHalfTop = 32768.0f;

float half_to_float(std::uint16_t h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
    std::uint32_t exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu;
    if (exponent == 0) {
        const float value = std::ldexp(static_cast<float>(mantissa), -24);
        return sign ? -value : value;
    }
    const std::uint32_t bits = sign | ((exponent + 112u) << 23) | (mantissa << 13);
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
}

std::uint16_t float_to_half(float value) {  // values in [0, 65504); round to nearest even
    if (!(value > 0.0f)) return 0;
    int exponent;
    std::frexp(value, &exponent);
    const int shift = std::max(exponent - 11, -24);
    const auto mantissa = static_cast<std::uint32_t>(std::lrint(std::ldexp(value, -shift)));
    if (shift == -24) return static_cast<std::uint16_t>(mantissa);  // subnormal, or carries into normal
    return static_cast<std::uint16_t>(((static_cast<std::uint32_t>(shift + 24)) << 10) + mantissa);
}

float dot_portable(const std::uint16_t* row, const float* x, std::size_t m) {
    float lanes[8] = {};
    for (std::size_t j = 0; j < m; j += 8)
        for (int l = 0; l < 8; ++l) lanes[l] += half_to_float(row[j + l]) * x[j + l];
    float sum = 0.0f;
    for (float lane : lanes) sum += lane;
    return sum;
}

void axpy_portable(const std::uint16_t* row, float a, float* y, std::size_t m) {
    for (std::size_t j = 0; j < m; ++j) y[j] += a * half_to_float(row[j]);
}

__attribute__((target("avx2,fma,f16c"))) float dot_avx2(const std::uint16_t* row, const float* x,
                                                        std::size_t m) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    for (std::size_t j = 0; j < m; j += 16) {
        const __m256 a = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + j)));
        const __m256 b = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + j + 8)));
        s0 = _mm256_fmadd_ps(a, _mm256_loadu_ps(x + j), s0);
        s1 = _mm256_fmadd_ps(b, _mm256_loadu_ps(x + j + 8), s1);
    }
    float lanes[8];
    _mm256_storeu_ps(lanes, _mm256_add_ps(s0, s1));
    float sum = 0.0f;
    for (float lane : lanes) sum += lane;
    return sum;
}

__attribute__((target("avx2,fma,f16c"))) void axpy_avx2(const std::uint16_t* row, float a, float* y,
                                                        std::size_t m) {
    const __m256 factor = _mm256_set1_ps(a);
    for (std::size_t j = 0; j < m; j += 8) {
        const __m256 v = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + j)));
        _mm256_storeu_ps(y + j, _mm256_fmadd_ps(v, factor, _mm256_loadu_ps(y + j)));
    }
}

__attribute__((target("avx512f"))) float dot_avx512(const std::uint16_t* row, const float* x,
                                                    std::size_t m) {
    __m512 s0 = _mm512_setzero_ps(), s1 = s0;
    for (std::size_t j = 0; j < m; j += 32) {
        const __m512 a = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + j)));
        const __m512 b =
            _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + j + 16)));
        s0 = _mm512_fmadd_ps(a, _mm512_loadu_ps(x + j), s0);
        s1 = _mm512_fmadd_ps(b, _mm512_loadu_ps(x + j + 16), s1);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}

__attribute__((target("avx512f"))) void axpy_avx512(const std::uint16_t* row, float a, float* y,
                                                    std::size_t m) {
    const __m512 factor = _mm512_set1_ps(a);
    for (std::size_t j = 0; j < m; j += 16) {
        const __m512 v =
            _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + j)));
        _mm512_storeu_ps(y + j, _mm512_fmadd_ps(v, factor, _mm512_loadu_ps(y + j)));
    }
}

void pack_portable(const float* row, float factor, std::uint16_t* target, std::size_t m) {
    for (std::size_t j = 0; j < m; ++j) target[j] = float_to_half(row[j] * factor);
}

// F16C rounds to nearest even like float_to_half; the last few values go the portable way.
__attribute__((target("avx2,fma,f16c"))) void pack_f16c(const float* row, float factor,
                                                        std::uint16_t* target, std::size_t m) {
    const __m256 f = _mm256_set1_ps(factor);
    std::size_t j = 0;
    for (; j + 8 <= m; j += 8) {
        const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(row + j), f);
        const __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(target + j), half);
    }
    for (; j < m; ++j) target[j] = float_to_half(row[j] * factor);
}

struct Kernels {
    void (*pack)(const float*, float, std::uint16_t*, std::size_t);
    float (*dot)(const std::uint16_t*, const float*, std::size_t);
    void (*axpy)(const std::uint16_t*, float, float*, std::size_t);
    const char* name;
};

const Kernels& kernels() {
    static const Kernels chosen = [] {
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("f16c")) return Kernels{pack_f16c, dot_avx512, axpy_avx512, "avx512"};
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
            __builtin_cpu_supports("f16c"))
            return Kernels{pack_f16c, dot_avx2, axpy_avx2, "avx2"};
        return Kernels{pack_portable, dot_portable, axpy_portable, "portable"};
    }();
    return chosen;
}

// Adds the chunks' partial sums in chunk order into out[0..m).
void reduce(const std::vector<std::vector<float>>& partial, std::size_t m, float* out) {
    std::fill(out, out + m, 0.0f);
    for (const auto& p : partial)
        if (!p.empty())
            for (std::size_t j = 0; j < m; ++j) out[j] += p[j];
}

// What a counter records of a true rate, its slope, and slope / recorded.
struct Recorded {
    float rate, slope, per_count;
};

Recorded recorded(const Counter& counter, float rate) {
    const float x = counter.dead_time * rate;
    if (counter.paralysable) {
        // In double: single-precision exponentials differ from one C library to the next.
        const float kept = static_cast<float>(std::exp(-static_cast<double>(x)));
        return {rate * kept, kept * (1.0f - x), (1.0f - x) / rate};
    }
    const float slow = 1.0f / (1.0f + x);
    return {rate * slow, slow * slow, slow / rate};
}

}  // namespace

const char* instruction_set() { return kernels().name; }

void pack_rows(const float* rows, std::size_t n, std::size_t m, std::uint16_t* packed,
               std::size_t stride, float* scales) {
    for (std::size_t i = 0; i < n; ++i) {
        const float* row = rows + i * m;
        const float top = m ? *std::max_element(row, row + m) : 0.0f;
        scales[i] = top > 0.0f ? top / kHalfTop : 0.0f;
        const float inverse = top > 0.0f ? kHalfTop / top : 0.0f;
        std::uint16_t* target = packed + i * stride;
        kernels().pack(row, inverse, target, m);
        std::fill(target + m, target + stride, std::uint16_t{0});
    }
}

void project(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t,
             std::size_t stride, const float* x, float* out, int threads) {
    const auto& k = kernels();
    for_chunks(threads, [&](std::size_t chunk) {
        for (std::size_t i = chunk_begin(chunk, n); i < chunk_begin(chunk + 1, n); ++i)
            out[i] = scales[i] * k.dot(packed + i * stride, x, stride);
    });
}

void back_project(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t,
                  std::size_t stride, const float* u, float* out, int threads) {
    const auto& k = kernels();
    std::vector<std::vector<float>> partial(kChunks);
    for_chunks(threads, [&](std::size_t chunk) {
        auto& sum = partial[chunk];
        sum.assign(stride, 0.0f);
        for (std::size_t i = chunk_begin(chunk, n); i < chunk_begin(chunk + 1, n); ++i)
            k.axpy(packed + i * stride, scales[i] * u[i], sum.data(), stride);
    });
    reduce(partial, stride, out);
}

void em_subset(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t,
               std::size_t stride, const float* counts, const float* live,
               const std::uint8_t* saturated, const Counter& counter, std::size_t offset,
               std::size_t step, const float* prior, float strength, float* x, float* sensitivity,
               int threads) {
    const auto& k = kernels();
    const std::size_t mine = offset < n ? (n - offset + step - 1) / step : 0;
    const Recorded top = recorded(counter, counter.limit);
    std::vector<std::vector<float>> gain(kChunks), seen(kChunks);
    for_chunks(threads, [&](std::size_t chunk) {
        const std::size_t low = chunk_begin(chunk, mine), high = chunk_begin(chunk + 1, mine);
        if (low == high) return;
        gain[chunk].assign(stride, 0.0f);
        seen[chunk].assign(stride, 0.0f);
        for (std::size_t i = low; i < high; ++i) {
            const std::size_t row = offset + i * step;
            const std::uint16_t* data = packed + row * stride;
            const float rate = std::max(scales[row] * k.dot(data, x, stride), 1e-6f);
            Recorded r = rate <= counter.limit ? recorded(counter, rate) : top;
            if (rate > counter.limit) {
                r.rate += top.slope * (rate - counter.limit);
                r.per_count = r.slope / r.rate;
            }
            // d log L / d rate = y slope / recorded - live slope.
            const float y = saturated[row] ? std::max(counts[row], live[row] * r.rate) : counts[row];
            const float w = scales[row];
            k.axpy(data, w * y * r.per_count, gain[chunk].data(), stride);
            k.axpy(data, w * live[row] * r.slope, seen[chunk].data(), stride);
        }
    });
    std::vector<float> total(stride);
    reduce(gain, stride, total.data());
    reduce(seen, stride, sensitivity);
    for (std::size_t j = 0; j < stride; ++j)
        x[j] = sensitivity[j] + strength > 0.0f
                   ? (x[j] * total[j] + strength * prior[j]) / (sensitivity[j] + strength)
                   : 0.0f;
}

}  // namespace gammanav
