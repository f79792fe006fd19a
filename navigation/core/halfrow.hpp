// Kernels over half-precision rows, one table of functions per instruction set; the best one is chosen at run time.
// A stored row is scale * half(row[j]); kernels work on the halves, the caller folds the scale into its factors.
// Lengths are padded lengths, multiples of kPad. All instruction sets give the same bits, and what is computed for
// several rows at once equals what is computed row by row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "response.hpp"

namespace gammanav {

inline constexpr std::size_t kPad = 32;
// Rows that are worth handling at once: dot, then axpy while they are in the cache.
inline constexpr std::size_t kRowGroup = 8;
// Largest value of a packed row: below the float16 maximum of 65504, so that rounding cannot overflow.
inline constexpr float kHalfTop = 32768.0f;

// Sums over k rows, added to sums[b][j] for columns j < length: b < n_linear of linear[b][r] row, then, unless `square`
// is null, one of square[r] row^2 and one of cube[r] row^3. Sums lie `pitch` floats apart.
struct SumTask {
    const std::uint16_t* const* rows;
    std::size_t k, length;
    const float* linear;
    std::size_t n_linear;
    const float *square, *cube;
    float* sums;
    std::size_t pitch;
};

struct Kernels {
    const char* name;
    // out[r] = half(rows[r]) . x for k rows: single precision within blocks of 4096 columns, double between them.
    void (*dot)(const std::uint16_t* const* rows, std::size_t k, const float* x, std::size_t length, float* out);
    // y += a[0] half(rows[0]) + a[1] half(rows[1]) + ..., in this order.
    void (*axpy)(const std::uint16_t* const* rows, const float* a, std::size_t k, float* y, std::size_t length);
    // Both y += sum a[r] half(rows[r]) and z += sum b[r] half(rows[r]) with one read of the rows.
    void (*axpy_two)(const std::uint16_t* const* rows, const float* a, const float* b, std::size_t k, float* y,
                     float* z, std::size_t length);
    void (*add_powers)(const SumTask& task);
    // out[r][i] = half(rows[r]) . image i for k rows and n images, `pitch` floats apart; at most 4096 columns at once.
    void (*dots)(const std::uint16_t* const* rows, std::size_t k, const float* images, std::size_t n,
                 std::size_t pitch, std::size_t length, float* out);
    // target = half(factor * row), to nearest even; any m; factor * row below 65504, what is negative becomes 0.
    void (*pack)(const float* row, float factor, std::uint16_t* target, std::size_t m);
    // target = factor * half(row); any m.
    void (*widen)(const std::uint16_t* row, float factor, float* target, std::size_t m);
    // row[0 .. to - from) = responses of one pose to the points from .. to; `from` is a multiple of 16.
    void (*respond)(const ResponseTask& task, std::size_t from, std::size_t to, float* row);
    // value[0 .. 16) of sixteen points, each with a pose of its own: poses[i][lane] is r[i], from i = 9 on t[i - 9].
    void (*respond_each)(const Detector& detector, const TissueGrid& tissue, const float* poses, const Points& at,
                         float* value);
    // The fan (kFanSize) of one pose; `sums` (kFanDepths * kFanPadded) is scratch.
    void (*trace_fan)(const Detector& detector, const TissueGrid& tissue, const Pose& pose, const FanRays& rays,
                      float* sums, float* fan);
};

// The kernels in use: the widest of this machine unless others were asked for.
const Kernels& kernels();
const char* instruction_set();

// The kernels of this name if the machine has them, else null: "avx512", "avx2", "portable".
const Kernels* kernels_named(const char* name);
// Use these from now on, in every thread; null returns to the machine's best. For tests and comparisons.
void use_kernels(const Kernels* chosen);

// Null where this build or this machine has none.
extern const Kernels* const kPortableKernels;
extern const Kernels* const kAvx2Kernels;
extern const Kernels* const kAvx512Kernels;

}  // namespace gammanav
