// The native core: response rows with attenuation, and list-mode EM over a float16 row store.
// Plain C++ without Python types; all arrays are the caller's, C-contiguous; lengths are mm.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gammanav {

// Detector response in the tip frame (origin at the centre of the face, +Z out of it). `table` holds
// (primary, scatter) pairs of s * d^2 in cps/kBq mm^2 on a regular grid of
//   w = c / (z + c)   (rows, 0..1)   and   v = r / (r + z + recess)   (columns, 0..1),
// where d is the distance to the crystal centre (0, 0, -recess). Behind the face only `leak` / (4 pi d^2).
struct Detector {
    const float* table;
    std::size_t n_w, n_v;
    float recess;
    float depth_scale;  // c
    float leak;         // cps/kBq mm^2 sr
    float mu;           // narrow-beam attenuation of tissue, 1/mm
};

// Attenuation relative to soft tissue on a regular grid aligned with the Reference frame, k-j-i, clamped at
// its border; `values` may be null: then the path is in tissue wherever it is in front of the face. `paired` may hold
// each value beside that of the next row, j + 1: the same result with half the look-ups.
struct TissueGrid {
    const float* values;
    const float* paired;
    std::size_t nx, ny, nz;
    float origin[3];
    float spacing;
};

// Row i (of n) is the weighted mean of the responses of poses first[i] .. first[i + 1] - 1 to the m points:
// out (n, m) in cps/kBq. poses (p, 4, 4) map the tip frame into Reference.
void response_rows(const float* points, std::size_t m, const double* poses, const double* weights,
                   const std::int64_t* first, std::size_t n, const Detector& detector,
                   const TissueGrid& tissue, float* out, int threads);

// Counts per unit concentration of a lattice of trilinear hats over tissue: out (n, nx ny nz) in
// cps per kBq/mL. Rays leave the crystal centre in the directions (q, 3) of the tip frame with solid angles
// `solid` (q); along a ray the 1/d^2 of the response cancels against the volume element.
struct Lattice {
    std::size_t nx, ny, nz;
    float origin[3];
    float spacing;
};
void background_rows(const double* poses, std::size_t n, const float* directions, const float* solid,
                     std::size_t q, float step, float reach, const Detector& detector,
                     const TissueGrid& tissue, const Lattice& lattice, float* out, int threads);

// Float16 storage: row i = scales[i] * half(packed[i, :]); stride is the padded row length. A row whose
// values are all below 1e-30 is packed as zeros; so is one that is not finite, and then the answer is false.
bool pack_rows(const float* rows, std::size_t n, std::size_t m, std::uint16_t* packed,
               std::size_t stride, float* scales, int threads);

// Row `target` becomes the sum of weights[r] row members[r] over k rows.
void merge_rows(std::uint16_t* packed, float* scales, std::size_t stride, const std::int64_t* members,
                const float* weights, std::size_t k, std::size_t target);

// out[i] = row i . x
void project(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride,
             const float* x, float* out, int threads);

// out = sum_i u[i] row i, in the order of the rows.
void back_project(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride,
                  const float* u, float* out, int threads);

// Factors of each row in sums over all rows: linear (n, n_linear), and unless null square (n) and cube (n).
struct RowSums {
    const float* linear;
    std::size_t n_linear;
    const float *square, *cube;
};

// out[b] = sum_i linear[i][b] row i for each b, then sum_i square[i] row_i^2 and sum_i cube[i] row_i^3: (sums, stride),
// all with one read of the rows per 32 sums. Rows are added in order, in single precision within 256 rows.
void sum_rows(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride,
              const RowSums& sums, double* out, int threads);

// out[i][b] = row i . image b, images (n_images, stride), with one read of the rows.
void project_many(const std::uint16_t* packed, const float* scales, std::size_t n, std::size_t stride,
                  const float* images, std::size_t n_images, float* out, int threads);

// Reads n values once and returns their sum modulo 2^64: what the memory gives, to compare a pass with.
std::uint64_t read_through(const std::uint64_t* values, std::size_t n, int threads);

// A counter with dead time tau: m = n / (1 + n tau), or n exp(-n tau) when paralysable; beyond the true rate `limit`
// (that of saturation) the recorded rate goes on along its tangent.
struct Counter {
    float dead_time;
    bool paralysable;
    float limit;
};

// Rows with what was counted: n of them, of padded length stride. Rows with `saturated` only bound the rate from
// below: counts[i] is that bound, and a model above it is left alone.
struct EmData {
    const std::uint16_t* packed;
    const float* scales;
    std::size_t n, stride;
    const float* counts;
    const float* live;
    const std::uint8_t* saturated;
    Counter counter;
};

// One subset of list-mode EM (rows offset, offset + step, ...), each row read once:
// x <- (x * gain + strength * prior) / (sensitivity + strength), with lambda_i = live_i m(rate), rate = row_i . x.
// `prior` (stride) is the mean of a gamma prior and `strength` its weight in sensitivity units. The subset's
// sensitivity is written, or with `known` taken as it is: without dead time it does not depend on x.
void em_subset(const EmData& data, std::size_t offset, std::size_t step, const float* prior, float strength,
               bool known, float* x, float* sensitivity, int threads);

// Some rows of the data by number, each with the weight of the rows it stands for.
struct RowSample {
    const std::int64_t* rows;
    const float* weights;
    std::size_t n;
};

// One relaxed EM update from a sample of the rows, each read once:
// x <- x + relaxation ((x * gain + strength * prior) / (loss + strength) - x), gain and loss the sample's weighted sums.
void em_sample(const EmData& data, const RowSample& sample, const float* prior, float strength, float relaxation,
               float* x, int threads);

}  // namespace gammanav
