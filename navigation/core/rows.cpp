// Response rows: for each pose and point the look-up of the detector's table, times the attenuation along
// the ray to the crystal.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core.hpp"
#include "halfrow.hpp"
#include "parallel.hpp"

namespace gammanav {
namespace {

// Fewer points than this are cheaper by marching each ray than by tracing a fan.
constexpr std::size_t kFanPays = 1500;
// Below this a vector holds points of several poses.
constexpr std::size_t kFewPoints = 64;
// Look-ups of the tissue, as a share of its nodes, from which pairing these pays.
constexpr std::size_t kPairingPays = 4, kLookUpsPerPoint = 8;
// Points of one part when few rows are shared out among the threads, and entries of one part when there are many.
constexpr std::size_t kTilePoints = 8192, kPartEntries = 16384;
constexpr std::size_t kFewRows = 8;
// Tangents of the outermost directions of the fan: r / (r + z + recess) of 0.97 is 88 degrees off the axis.
constexpr float kWidest = 0.97f;

FanRays make_rays() {
    FanRays rays{};
    for (int i = 0; i < kFanPadded; ++i) {
        const int node = std::min(i, kFanRays - 1);
        const float a = 2.0f * static_cast<float>(node % kFanSide) / (kFanSide - 1) - 1.0f;
        const float b = 2.0f * static_cast<float>(node / kFanSide) / (kFanSide - 1) - 1.0f;
        const float norm = std::max(std::sqrt(a * a + b * b), 1e-6f), v = std::min(norm, kWidest);
        const float tangent = v / (1.0f - v), secant = std::sqrt(1.0f + tangent * tangent);
        rays.x[i] = tangent / secant * a / norm;
        rays.y[i] = tangent / secant * b / norm;
        rays.z[i] = 1.0f / secant;
        rays.start[i] = secant;
    }
    return rays;
}

// Coordinates side by side, padded with copies of the last point.
class PointTable {
  public:
    PointTable(const float* points, std::size_t m) : padded_((m + 15) / 16 * 16), values_(3 * padded_) {
        for (std::size_t j = 0; j < padded_; ++j)
            for (std::size_t i = 0; i < 3; ++i) values_[i * padded_ + j] = points[3 * std::min(j, m - 1) + i];
    }
    Points points() const { return {values_.data(), values_.data() + padded_, values_.data() + 2 * padded_}; }

  private:
    std::size_t padded_;
    std::vector<float> values_;
};

// Each node beside that of the next row.
std::vector<float> paired(const TissueGrid& g) {
    const std::size_t nodes = g.nx * g.ny * g.nz;
    std::vector<float> out(2 * nodes);
    for (std::size_t i = 0; i < nodes; ++i) {
        out[2 * i] = g.values[i];
        out[2 * i + 1] = g.values[std::min(i + g.nx, nodes - 1)];
    }
    return out;
}

struct Build {
    const Detector& detector;
    const TissueGrid& tissue;
    Points points;
    std::size_t m;
    const double *poses, *weights;
    bool use_fan;

    void trace(std::int64_t pose, float* fan) const {
        thread_local std::vector<float> sums(static_cast<std::size_t>(kFanDepths) * kFanPadded);
        kernels().trace_fan(detector, tissue, to_pose(poses + 16 * pose), fan_rays(), sums.data(), fan);
    }

    void respond(std::int64_t pose, const float* fan, bool add, std::size_t from, std::size_t to, float* row) const {
        const ResponseTask task{&detector, &tissue, fan,  to_pose(poses + 16 * pose),
                                points,    static_cast<float>(weights[pose]), add};
        kernels().respond(task, from, to, row);
    }

    // One whole row: poses begin .. end, at least one.
    void row(std::int64_t begin, std::int64_t end, float* out) const {
        thread_local std::vector<float> fan(kFanSize);
        for (std::int64_t k = begin; k < end; ++k) {
            if (use_fan) trace(k, fan.data());
            respond(k, use_fan ? fan.data() : nullptr, k > begin, 0, m, out);
        }
        if (begin == end) std::fill(out, out + m, 0.0f);
    }
};

// Few rows of many points: first all fans, then the points of every row in tiles.
void build_few(const Build& build, const std::int64_t* first, std::size_t n, float* out, int threads) {
    const auto poses = static_cast<std::size_t>(first[n]);
    std::vector<float> fans(build.use_fan ? poses * kFanSize : 0);
    if (build.use_fan)
        for_parts(threads, poses, [&](std::size_t k) {
            build.trace(static_cast<std::int64_t>(k), fans.data() + k * kFanSize);
        });
    const std::size_t tiles = (build.m + kTilePoints - 1) / kTilePoints;
    for_parts(threads, n * tiles, [&](std::size_t part) {
        const std::size_t i = part / tiles, from = part % tiles * kTilePoints;
        const std::size_t to = std::min(from + kTilePoints, build.m);
        float* row = out + i * build.m + from;
        if (first[i] == first[i + 1]) std::fill(row, row + (to - from), 0.0f);
        for (std::int64_t k = first[i]; k < first[i + 1]; ++k)
            build.respond(k, build.use_fan ? fans.data() + static_cast<std::size_t>(k) * kFanSize : nullptr,
                          k > first[i], from, to, row);
    });
}

// Few points of many poses, pose by pose: `values` (end - begin, m).
void respond_flat(const Build& build, const float* points, std::size_t begin, std::size_t end, float* values) {
    constexpr std::size_t lanes = 16;
    const std::size_t m = build.m, total = (end - begin) * m;
    float pose[12 * lanes], at[3 * lanes], value[lanes];
    Pose present{};
    for (std::size_t e = 0, point = 0, k = begin; e < total; e += lanes) {
        for (std::size_t l = 0; l < lanes; ++l) {
            if (e + l < total && (point == 0 || e + l == 0)) present = to_pose(build.poses + 16 * k);
            for (std::size_t i = 0; i < 9; ++i) pose[i * lanes + l] = present.r[i];
            for (std::size_t i = 0; i < 3; ++i) pose[(9 + i) * lanes + l] = present.t[i];
            for (std::size_t i = 0; i < 3; ++i) at[i * lanes + l] = points[3 * point + i];
            if (e + l < total && ++point == m) point = 0, ++k;
        }
        kernels().respond_each(build.detector, build.tissue, pose, {at, at + lanes, at + 2 * lanes}, value);
        std::copy(value, value + std::min(lanes, total - e), values + e);
    }
}

void build_flat(const Build& build, const float* points, const std::int64_t* first, std::size_t low,
                std::size_t high, float* out) {
    const auto begin = static_cast<std::size_t>(first[low]), end = static_cast<std::size_t>(first[high]);
    std::vector<float> values((end - begin) * build.m);
    respond_flat(build, points, begin, end, values.data());
    const float* value = values.data();
    for (std::size_t i = low; i < high; ++i) {
        float* row = out + i * build.m;
        std::fill(row, row + build.m, 0.0f);
        for (std::int64_t k = first[i]; k < first[i + 1]; ++k, value += build.m)
            for (std::size_t j = 0; j < build.m; ++j) row[j] += static_cast<float>(build.weights[k]) * value[j];
    }
}

}  // namespace

const FanRays& fan_rays() {
    static const FanRays rays = make_rays();
    return rays;
}

void response_rows(const float* points, std::size_t m, const double* poses, const double* weights,
                   const std::int64_t* first, std::size_t n, const Detector& detector,
                   const TissueGrid& tissue, float* out, int threads) {
    if (m == 0 || n == 0) return;
    const PointTable table(points, m);
    const auto total = static_cast<std::size_t>(first[n]);
    const bool use_fan = tissue.values != nullptr && m >= kFanPays;
    TissueGrid grid = tissue;
    std::vector<float> pairs;
    const std::size_t look_ups = total * (use_fan ? std::size_t{kFanRays} * kFanDepths : m * kLookUpsPerPoint);
    if (tissue.values != nullptr && look_ups * kPairingPays > tissue.nx * tissue.ny * tissue.nz) {
        pairs = paired(tissue);
        grid.paired = pairs.data();
    }
    const Build build{detector, grid, table.points(), m, poses, weights, use_fan};
    if (n <= kFewRows && m > kTilePoints && total <= 4 * kFewRows) {
        build_few(build, first, n, out, threads);
        return;
    }
    const std::size_t block = std::max<std::size_t>(kPartEntries / m, 1);
    for_parts(threads, (n + block - 1) / block, [&](std::size_t part) {
        const std::size_t low = part * block, high = std::min(low + block, n);
        if (m < kFewPoints) {
            build_flat(build, points, first, low, high, out);
            return;
        }
        for (std::size_t i = low; i < high; ++i) build.row(first[i], first[i + 1], out + i * m);
    });
}

}  // namespace gammanav
