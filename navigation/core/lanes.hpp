// Sixteen floats at once, in whatever vectors this source file is compiled for. Only IEEE-exact operations and no
// fused multiply-add: every kernel gives the same bits with AVX-512, with AVX2 and without either.
// For the kernels_*.cpp files alone: what is here must not be shared between files of different instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#define GAMMANAV_INLINE inline __attribute__((always_inline))

namespace gammanav {
namespace {

constexpr std::size_t kLanes = 16;

#if defined(__AVX2__)

// Four neighbours base[at[l]] .. of eight lanes, interpolated by `share` towards those `stride` floats on: one
// vector each. Interpolating first halves what has to be transposed.
GAMMANAV_INLINE void quads_between(const float* base, const std::int32_t* at, std::size_t stride, __m256 share,
                                   __m256 out[4]) {
    const auto four = [&](int l, __m256 s) {
        const float *one = base + at[l], *two = base + at[l + 4];
        const __m256 low = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(one)), _mm_loadu_ps(two), 1);
        const __m256 high = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(one + stride)),
                                                 _mm_loadu_ps(two + stride), 1);
        return _mm256_add_ps(low, _mm256_mul_ps(s, _mm256_sub_ps(high, low)));
    };
    const __m256 z0 = four(0, _mm256_permute_ps(share, 0x00)), z1 = four(1, _mm256_permute_ps(share, 0x55));
    const __m256 z2 = four(2, _mm256_permute_ps(share, 0xaa)), z3 = four(3, _mm256_permute_ps(share, 0xff));
    const __m256d t0 = _mm256_castps_pd(_mm256_unpacklo_ps(z0, z1));
    const __m256d t1 = _mm256_castps_pd(_mm256_unpackhi_ps(z0, z1));
    const __m256d t2 = _mm256_castps_pd(_mm256_unpacklo_ps(z2, z3));
    const __m256d t3 = _mm256_castps_pd(_mm256_unpackhi_ps(z2, z3));
    out[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(t0, t2));
    out[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(t0, t2));
    out[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(t1, t3));
    out[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(t1, t3));
}

#endif

#if defined(__AVX512F__)

struct Mask {
    __mmask16 m;
};
struct Lanes {
    __m512 v;
};
struct Ints {
    __m512i v;
};

GAMMANAV_INLINE Lanes splat(float a) { return {_mm512_set1_ps(a)}; }
GAMMANAV_INLINE Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
GAMMANAV_INLINE void store(float* p, Lanes a) { _mm512_storeu_ps(p, a.v); }
GAMMANAV_INLINE Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
GAMMANAV_INLINE Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
GAMMANAV_INLINE Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
GAMMANAV_INLINE Lanes operator/(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
GAMMANAV_INLINE Lanes root(Lanes a) { return {_mm512_sqrt_ps(a.v)}; }
GAMMANAV_INLINE Lanes smaller(Lanes a, Lanes b) { return {_mm512_min_ps(a.v, b.v)}; }
GAMMANAV_INLINE Lanes larger(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
GAMMANAV_INLINE Mask above(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
GAMMANAV_INLINE Lanes choose(Mask m, Lanes a, Lanes b) { return {_mm512_mask_blend_ps(m.m, b.v, a.v)}; }
GAMMANAV_INLINE bool any(Mask m) { return m.m != 0; }
GAMMANAV_INLINE Lanes towards_zero(Lanes a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)};
}
GAMMANAV_INLINE Ints whole(Lanes a) { return {_mm512_cvttps_epi32(a.v)}; }
GAMMANAV_INLINE void store(std::int32_t* p, Ints a) { _mm512_storeu_si512(p, a.v); }
// 2^a for whole a in [-126, 127].
GAMMANAV_INLINE Lanes power_of_two(Ints a) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(a.v, _mm512_set1_epi32(127)), 23))};
}
GAMMANAV_INLINE Lanes load_half(const std::uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
GAMMANAV_INLINE void store_half(std::uint16_t* p, Lanes a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

GAMMANAV_INLINE __m512 joined(__m256 low, __m256 high) {
    return _mm512_castpd_ps(
        _mm512_insertf64x4(_mm512_castps_pd(_mm512_castps256_ps512(low)), _mm256_castps_pd(high), 1));
}
GAMMANAV_INLINE void quads_between(const float* base, const std::int32_t* at, std::size_t stride, Lanes share,
                                   Lanes out[4]) {
    __m256 low[4], high[4];
    quads_between(base, at, stride, _mm512_castps512_ps256(share.v), low);
    quads_between(base, at + 8, stride,
                  _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(share.v), 1)), high);
    for (int i = 0; i < 4; ++i) out[i].v = joined(low[i], high[i]);
}

// The two neighbours base[at[l]], base[at[l] + 1] of each lane.
GAMMANAV_INLINE __m512 pairs_of(const float* base, const std::int32_t* at) {
    const auto two = [&](int l) {
        const __m128d low = _mm_load_sd(reinterpret_cast<const double*>(base + at[l]));
        return _mm_castpd_ps(_mm_loadh_pd(low, reinterpret_cast<const double*>(base + at[l + 1])));
    };
    __m512 z = _mm512_castps128_ps512(two(0));
    z = _mm512_insertf32x4(z, two(4), 1);
    z = _mm512_insertf32x4(z, two(8), 2);
    return _mm512_insertf32x4(z, two(12), 3);
}
GAMMANAV_INLINE void pairs(const float* base, const std::int32_t* at, Lanes out[2]) {
    const __m512 z0 = pairs_of(base, at), z1 = pairs_of(base, at + 2);
    out[0].v = _mm512_shuffle_ps(z0, z1, _MM_SHUFFLE(2, 0, 2, 0));
    out[1].v = _mm512_shuffle_ps(z0, z1, _MM_SHUFFLE(3, 1, 3, 1));
}

#elif defined(__AVX2__)

struct Mask {
    __m256 lo, hi;
};
struct Lanes {
    __m256 lo, hi;
};
struct Ints {
    __m256i lo, hi;
};

GAMMANAV_INLINE Lanes splat(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
GAMMANAV_INLINE Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
GAMMANAV_INLINE void store(float* p, Lanes a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
GAMMANAV_INLINE Lanes operator+(Lanes a, Lanes b) {
    return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
GAMMANAV_INLINE Lanes operator-(Lanes a, Lanes b) {
    return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
GAMMANAV_INLINE Lanes operator*(Lanes a, Lanes b) {
    return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
GAMMANAV_INLINE Lanes operator/(Lanes a, Lanes b) {
    return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
GAMMANAV_INLINE Lanes root(Lanes a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
GAMMANAV_INLINE Lanes smaller(Lanes a, Lanes b) {
    return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
GAMMANAV_INLINE Lanes larger(Lanes a, Lanes b) {
    return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
GAMMANAV_INLINE Mask above(Lanes a, Lanes b) {
    return {_mm256_cmp_ps(a.lo, b.lo, _CMP_GT_OQ), _mm256_cmp_ps(a.hi, b.hi, _CMP_GT_OQ)};
}
GAMMANAV_INLINE Lanes choose(Mask m, Lanes a, Lanes b) {
    return {_mm256_blendv_ps(b.lo, a.lo, m.lo), _mm256_blendv_ps(b.hi, a.hi, m.hi)};
}
GAMMANAV_INLINE bool any(Mask m) { return _mm256_movemask_ps(_mm256_or_ps(m.lo, m.hi)) != 0; }
GAMMANAV_INLINE Lanes towards_zero(Lanes a) {
    return {_mm256_round_ps(a.lo, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC),
            _mm256_round_ps(a.hi, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)};
}
GAMMANAV_INLINE Ints whole(Lanes a) { return {_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi)}; }
GAMMANAV_INLINE void store(std::int32_t* p, Ints a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.hi);
}
GAMMANAV_INLINE __m256 power_of_two(__m256i a) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(a, _mm256_set1_epi32(127)), 23));
}
GAMMANAV_INLINE Lanes power_of_two(Ints a) { return {power_of_two(a.lo), power_of_two(a.hi)}; }
GAMMANAV_INLINE Lanes load_half(const std::uint16_t* p) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
GAMMANAV_INLINE void store_half(std::uint16_t* p, Lanes a) {
    auto* q = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(q, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128(q + 1, _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

GAMMANAV_INLINE void quads_between(const float* base, const std::int32_t* at, std::size_t stride, Lanes share,
                                   Lanes out[4]) {
    __m256 low[4], high[4];
    quads_between(base, at, stride, share.lo, low);
    quads_between(base, at + 8, stride, share.hi, high);
    for (int i = 0; i < 4; ++i) out[i] = {low[i], high[i]};
}

// The two neighbours base[at[l]], base[at[l] + 1] of each lane.
GAMMANAV_INLINE __m256 pairs_of(const float* base, const std::int32_t* at) {
    const auto two = [&](int l) {
        const __m128d low = _mm_load_sd(reinterpret_cast<const double*>(base + at[l]));
        return _mm_castpd_ps(_mm_loadh_pd(low, reinterpret_cast<const double*>(base + at[l + 1])));
    };
    return _mm256_insertf128_ps(_mm256_castps128_ps256(two(0)), two(4), 1);
}
GAMMANAV_INLINE void pairs(const float* base, const std::int32_t* at, Lanes out[2]) {
    const __m256 a = pairs_of(base, at), b = pairs_of(base, at + 2);
    const __m256 c = pairs_of(base, at + 8), d = pairs_of(base, at + 10);
    out[0] = {_mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)), _mm256_shuffle_ps(c, d, _MM_SHUFFLE(2, 0, 2, 0))};
    out[1] = {_mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)), _mm256_shuffle_ps(c, d, _MM_SHUFFLE(3, 1, 3, 1))};
}

#else

typedef float Float4 __attribute__((vector_size(16)));
typedef std::int32_t Int4 __attribute__((vector_size(16)));

struct Mask {
    Int4 v[4];
};
struct Lanes {
    Float4 v[4];
};
struct Ints {
    Int4 v[4];
};

template <class T, class F>
GAMMANAV_INLINE T each(F f) {
    T out;
    for (int i = 0; i < 4; ++i) out.v[i] = f(i);
    return out;
}
GAMMANAV_INLINE Lanes splat(float a) {
    return each<Lanes>([&](int) { return Float4{a, a, a, a}; });
}
GAMMANAV_INLINE Lanes load(const float* p) {
    Lanes out;
    std::memcpy(&out, p, sizeof out);
    return out;
}
GAMMANAV_INLINE void store(float* p, Lanes a) { std::memcpy(p, &a, sizeof a); }
GAMMANAV_INLINE Lanes operator+(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return a.v[i] + b.v[i]; });
}
GAMMANAV_INLINE Lanes operator-(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return a.v[i] - b.v[i]; });
}
GAMMANAV_INLINE Lanes operator*(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return a.v[i] * b.v[i]; });
}
GAMMANAV_INLINE Lanes operator/(Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return a.v[i] / b.v[i]; });
}
GAMMANAV_INLINE Lanes root(Lanes a) {
    for (auto& v : a.v)
        for (int j = 0; j < 4; ++j) v[j] = __builtin_sqrtf(v[j]);
    return a;
}
GAMMANAV_INLINE Mask above(Lanes a, Lanes b) {
    return each<Mask>([&](int i) { return a.v[i] > b.v[i]; });
}
GAMMANAV_INLINE Lanes choose(Mask m, Lanes a, Lanes b) {
    return each<Lanes>([&](int i) { return m.v[i] ? a.v[i] : b.v[i]; });
}
GAMMANAV_INLINE Lanes smaller(Lanes a, Lanes b) { return choose(above(b, a), a, b); }
GAMMANAV_INLINE Lanes larger(Lanes a, Lanes b) { return choose(above(a, b), a, b); }
GAMMANAV_INLINE bool any(Mask m) {
    const Int4 all = m.v[0] | m.v[1] | m.v[2] | m.v[3];
    return (all[0] | all[1] | all[2] | all[3]) != 0;
}
GAMMANAV_INLINE Ints whole(Lanes a) {
    return each<Ints>([&](int i) { return __builtin_convertvector(a.v[i], Int4); });
}
GAMMANAV_INLINE Lanes towards_zero(Lanes a) {
    return each<Lanes>(
        [&](int i) { return __builtin_convertvector(__builtin_convertvector(a.v[i], Int4), Float4); });
}
GAMMANAV_INLINE void store(std::int32_t* p, Ints a) { std::memcpy(p, &a, sizeof a); }
GAMMANAV_INLINE Lanes power_of_two(Ints a) {
    Lanes out;
    const Ints bits = each<Ints>([&](int i) { return (a.v[i] + 127) << 23; });
    std::memcpy(&out, &bits, sizeof out);
    return out;
}
// A half's exponent and mantissa, moved into a float and scaled by 2^112: exact for subnormal halves too.
GAMMANAV_INLINE Lanes load_half(const std::uint16_t* p) {
    float out[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i) {
        const std::uint32_t bits = static_cast<std::uint32_t>(p[i]) << 13;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        out[i] = value * 0x1p112f;
    }
    return load(out);
}
// Values in [0, 65504), to nearest even. Below the smallest normal half, 1/2 is added: its last place is that of a
// subnormal half.
GAMMANAV_INLINE void store_half(std::uint16_t* p, Lanes a) {
    float in[kLanes];
    store(in, a);
    for (std::size_t i = 0; i < kLanes; ++i) {
        const float shifted = in[i] + 0.5f;
        std::uint32_t bits, small;
        std::memcpy(&bits, &in[i], sizeof bits);
        std::memcpy(&small, &shifted, sizeof small);
        const std::uint32_t normal = (bits + 0xfffu + ((bits >> 13) & 1u) - (112u << 23)) >> 13;
        p[i] = static_cast<std::uint16_t>(in[i] < 0x1p-14f ? small - 0x3f000000u : normal);
    }
}
// Four neighbours base[at[l]] .. of each lane, interpolated by `share` towards those `stride` floats on.
GAMMANAV_INLINE void quads_between(const float* base, const std::int32_t* at, std::size_t stride, Lanes share,
                                   Lanes out[4]) {
    float outer[kLanes], value[4][kLanes];
    store(outer, share);
    for (std::size_t l = 0; l < kLanes; ++l)
        for (int c = 0; c < 4; ++c) {
            const float* low = base + at[l] + c;
            value[c][l] = low[0] + outer[l] * (low[stride] - low[0]);
        }
    for (int c = 0; c < 4; ++c) out[c] = load(value[c]);
}
// The two neighbours base[at[l]], base[at[l] + 1] of each lane.
GAMMANAV_INLINE void pairs(const float* base, const std::int32_t* at, Lanes out[2]) {
    float value[2][kLanes];
    for (std::size_t l = 0; l < kLanes; ++l)
        for (int c = 0; c < 2; ++c) value[c][l] = base[at[l] + c];
    for (int c = 0; c < 2; ++c) out[c] = load(value[c]);
}

#endif

// The sum of the lanes, always in the same order.
GAMMANAV_INLINE float sum_of(Lanes a) {
    float lane[kLanes];
    store(lane, a);
    for (std::size_t half = kLanes / 2; half > 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
    return lane[0];
}

}  // namespace
}  // namespace gammanav
