// Response rows: for each pose and point the look-up of the detector's table, times the attenuation along
// the ray to the crystal.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core.hpp"
#include "parallel.hpp"

namespace gammanav {
namespace {

constexpr float kFourPi = 12.56637061f;
// Sampling of the ray through the tissue grid: finer than the grid's own spacing gains nothing.
constexpr float kRayStep = 4.0f;
constexpr int kMostRaySteps = 96;

struct Pose {
    float r[9];  // rotation, row-major: tip to Reference
    float t[3];
};

Pose to_pose(const double* m) {
    Pose p;
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) p.r[3 * i + j] = static_cast<float>(m[4 * i + j]);
        p.t[i] = static_cast<float>(m[4 * i + 3]);
    }
    return p;
}

inline float lerp_grid(const TissueGrid& g, float x, float y, float z) {
    const float inv = 1.0f / g.spacing;
    const float fx = std::clamp((x - g.origin[0]) * inv, 0.0f, static_cast<float>(g.nx - 1) - 1e-3f);
    const float fy = std::clamp((y - g.origin[1]) * inv, 0.0f, static_cast<float>(g.ny - 1) - 1e-3f);
    const float fz = std::clamp((z - g.origin[2]) * inv, 0.0f, static_cast<float>(g.nz - 1) - 1e-3f);
    const int ix = static_cast<int>(fx), iy = static_cast<int>(fy), iz = static_cast<int>(fz);
    const float ax = fx - ix, ay = fy - iy, az = fz - iz;
    const float* v = g.values + (static_cast<std::size_t>(iz) * g.ny + iy) * g.nx + ix;
    const std::size_t sy = g.nx, sz = g.nx * g.ny;
    const float c00 = v[0] + ax * (v[1] - v[0]);
    const float c10 = v[sy] + ax * (v[sy + 1] - v[sy]);
    const float c01 = v[sz] + ax * (v[sz + 1] - v[sz]);
    const float c11 = v[sz + sy] + ax * (v[sz + sy + 1] - v[sz + sy]);
    const float c0 = c00 + ay * (c10 - c00);
    const float c1 = c01 + ay * (c11 - c01);
    return c0 + az * (c1 - c0);
}

// Tissue-equivalent length between two points of the Reference frame.
float tissue_path(const TissueGrid& g, const float from[3], const float to[3], float length) {
    if (g.values == nullptr) return length;
    const int steps = std::clamp(static_cast<int>(length / kRayStep) + 1, 2, kMostRaySteps);
    const float inv = 1.0f / static_cast<float>(steps);
    const float dx = (to[0] - from[0]) * inv, dy = (to[1] - from[1]) * inv, dz = (to[2] - from[2]) * inv;
    float sum = 0.0f;
    for (int i = 0; i < steps; ++i) {
        const float s = static_cast<float>(i) + 0.5f;
        sum += lerp_grid(g, from[0] + s * dx, from[1] + s * dy, from[2] + s * dz);
    }
    return sum * length * inv;
}

struct Parts {
    float primary, scatter;
};

inline Parts look_up(const Detector& d, float r, float z) {
    const float w = d.depth_scale / (z + d.depth_scale) * static_cast<float>(d.n_w - 1);
    const float v = r / (r + z + d.recess) * static_cast<float>(d.n_v - 1);
    const auto iw = std::min(static_cast<std::size_t>(w), d.n_w - 2);
    const auto iv = std::min(static_cast<std::size_t>(v), d.n_v - 2);
    const float aw = w - static_cast<float>(iw), av = v - static_cast<float>(iv);
    const float* p = d.table + 2 * (iw * d.n_v + iv);
    const float* q = p + 2 * d.n_v;
    const float p0 = p[0] + av * (p[2] - p[0]), p1 = q[0] + av * (q[2] - q[0]);
    const float s0 = p[1] + av * (p[3] - p[1]), s1 = q[1] + av * (q[3] - q[1]);
    return {p0 + aw * (p1 - p0), s0 + aw * (s1 - s0)};
}

// A point as one pose sees it: in the tip frame, with the ray to the crystal.
struct Seen {
    float px, py, r, z, zh, d2;
};

inline Seen see(const Detector& d, const Pose& pose, const float x[3]) {
    const float ex = x[0] - pose.t[0], ey = x[1] - pose.t[1], ez = x[2] - pose.t[2];
    Seen s;
    s.px = pose.r[0] * ex + pose.r[3] * ey + pose.r[6] * ez;
    s.py = pose.r[1] * ex + pose.r[4] * ey + pose.r[7] * ez;
    s.z = pose.r[2] * ex + pose.r[5] * ey + pose.r[8] * ez;
    s.r = std::sqrt(s.px * s.px + s.py * s.py);
    s.zh = s.z + d.recess;
    s.d2 = std::max(s.r * s.r + s.zh * s.zh, 1.0f);
    return s;
}

// Length of the ray in front of the face.
inline float in_front(const Seen& s) { return std::sqrt(s.d2) * s.z / s.zh; }

inline float attenuated(const Detector& d, const Seen& s, float through, float path) {
    const Parts g = look_up(d, s.r, s.z);
    const float share = path / std::max(through, 1e-3f);
    return (g.primary + g.scatter * share) * std::exp(-d.mu * path) / s.d2;
}

float point_response(const Detector& d, const TissueGrid& tissue, const Pose& pose, const float x[3]) {
    const Seen s = see(d, pose, x);
    if (s.z <= 0.0f) return d.leak / (kFourPi * s.d2);
    const float f = d.recess / s.zh;  // where the ray to the crystal crosses the plane of the face
    float entry[3];
    for (int i = 0; i < 3; ++i)
        entry[i] = pose.t[i] + f * (pose.r[3 * i] * s.px + pose.r[3 * i + 1] * s.py);
    const float through = in_front(s);
    return attenuated(d, s, through, tissue_path(tissue, entry, x, through));
}

// Tissue path of one pose over direction and depth: a fan of rays, marched once, looked up for every voxel.
// Directions are (px, py) / (r + z + recess) in (-1, 1)^2; depth counts from the face.
class PathFan {
  public:
    explicit PathFan(const Detector& d) : detector_(d), sums_(kSide * kSide * kDepths) {}

    void trace(const TissueGrid& g, const Pose& pose) {
        for (int b = 0; b < kSide; ++b)
            for (int a = 0; a < kSide; ++a) trace_ray(g, pose, node(a), node(b), row(a, b));
    }

    float path(const Seen& s, float through) const {
        const float inverse = kHalf / (s.r + s.zh);
        const float fa = std::clamp((s.px * inverse + kHalf) * kScale, 0.0f, kTop);
        const float fb = std::clamp((s.py * inverse + kHalf) * kScale, 0.0f, kTop);
        const float fd = std::min(through * (1.0f / kFanStep), static_cast<float>(kDepths - 1) - 1e-3f);
        const int a = static_cast<int>(fa), b = static_cast<int>(fb), k = static_cast<int>(fd);
        const float ta = fa - a, tb = fb - b, tk = fd - k;
        const float* p = sums_.data() + (static_cast<std::size_t>(b) * kSide + a) * kDepths + k;
        const float v00 = p[0] + tk * (p[1] - p[0]);
        const float v10 = p[kDepths] + tk * (p[kDepths + 1] - p[kDepths]);
        p += kSide * kDepths;
        const float v01 = p[0] + tk * (p[1] - p[0]);
        const float v11 = p[kDepths] + tk * (p[kDepths + 1] - p[kDepths]);
        const float v0 = v00 + ta * (v10 - v00), v1 = v01 + ta * (v11 - v01);
        // Beyond the last depth of the fan the body goes on.
        const float beyond = std::max(through - kFanStep * static_cast<float>(kDepths - 1), 0.0f);
        return std::min(v0 + tb * (v1 - v0) + beyond, through);
    }

  private:
    static constexpr int kSide = 18, kDepths = 40;
    static constexpr float kFanStep = 3.0f, kHalf = 0.5f;
    static constexpr float kScale = static_cast<float>(kSide - 1), kTop = kScale - 1e-3f;

    static float node(int a) { return 2.0f * static_cast<float>(a) / kScale - 1.0f; }
    float* row(int a, int b) { return sums_.data() + (static_cast<std::size_t>(b) * kSide + a) * kDepths; }

    void trace_ray(const TissueGrid& g, const Pose& pose, float a, float b, float* sums) const {
        const float v = std::min(std::sqrt(a * a + b * b), 0.97f);
        const float norm = std::max(std::sqrt(a * a + b * b), 1e-6f);
        const float tangent = v / (1.0f - v);
        const float cosine = 1.0f / std::sqrt(1.0f + tangent * tangent);
        const float u[3] = {tangent * cosine * a / norm, tangent * cosine * b / norm, cosine};
        const float start = detector_.recess / cosine;
        float sum = 0.0f;
        sums[0] = 0.0f;
        for (int k = 1; k < kDepths; ++k) {
            const float rho = start + (static_cast<float>(k) - 0.5f) * kFanStep;
            const float px = u[0] * rho, py = u[1] * rho, z = u[2] * rho - detector_.recess;
            float x[3];
            for (int i = 0; i < 3; ++i)
                x[i] = pose.t[i] + pose.r[3 * i] * px + pose.r[3 * i + 1] * py + pose.r[3 * i + 2] * z;
            sum += kFanStep * lerp_grid(g, x[0], x[1], x[2]);
            sums[k] = sum;
        }
    }

    const Detector& detector_;
    std::vector<float> sums_;
};

// Fewer points than this are cheaper by marching each ray than by tracing a fan.
constexpr std::size_t kFanPays = 1500;

void add_row(const Detector& d, const PathFan& fan, const Pose& pose, const float* points, std::size_t low,
             std::size_t high, float weight, float* row) {
    for (std::size_t j = low; j < high; ++j) {
        const Seen s = see(d, pose, points + 3 * j);
        if (s.z <= 0.0f) {
            row[j] += weight * d.leak / (kFourPi * s.d2);
            continue;
        }
        const float through = in_front(s);
        row[j] += weight * attenuated(d, s, through, fan.path(s, through));
    }
}

// Adds `value` to the eight hats round a place; beyond the lattice its border continues.
inline void add_to_lattice(const Lattice& g, const float x[3], float value, float* row) {
    const std::size_t n[3] = {g.nx, g.ny, g.nz};
    std::size_t low[3];
    float a[3];
    for (int i = 0; i < 3; ++i) {
        const float f = std::clamp((x[i] - g.origin[i]) / g.spacing, 0.0f, static_cast<float>(n[i] - 1));
        low[i] = std::min(static_cast<std::size_t>(f), n[i] - 2);
        a[i] = f - static_cast<float>(low[i]);
    }
    for (int c = 0; c < 8; ++c) {
        const int i = c & 1, j = c >> 1 & 1, k = c >> 2;
        const float w = (i ? a[0] : 1 - a[0]) * (j ? a[1] : 1 - a[1]) * (k ? a[2] : 1 - a[2]);
        row[((low[2] + k) * g.ny + low[1] + j) * g.nx + low[0] + i] += w * value;
    }
}

// One ray of the background: marched from the face outwards, tissue path and attenuation as it goes.
void trace_background(const Detector& d, const TissueGrid& tissue, const Pose& pose, const float u[3],
                      float solid, float step, float reach, const Lattice& lattice, float* row) {
    const float start = d.recess / u[2];  // distance from the crystal at which the ray leaves the face
    const float sine = std::sqrt(u[0] * u[0] + u[1] * u[1]);
    float path = 0.0f;
    for (float along = 0.5f * step; along < reach; along += step) {
        const float rho = start + along;
        const float px = u[0] * rho, py = u[1] * rho, z = u[2] * rho - d.recess;
        float x[3];
        for (int i = 0; i < 3; ++i)
            x[i] = pose.t[i] + pose.r[3 * i] * px + pose.r[3 * i + 1] * py + pose.r[3 * i + 2] * z;
        const float density = tissue.values == nullptr ? 1.0f : lerp_grid(tissue, x[0], x[1], x[2]);
        const float middle = path + 0.5f * step * density;
        path += step * density;
        if (density <= 0.0f) continue;
        const Parts g = look_up(d, sine * rho, z);
        const float value = (g.primary + g.scatter * middle / along) * std::exp(-d.mu * middle);
        add_to_lattice(lattice, x, value * density * step * solid * 1e-3f, row);
    }
}

}  // namespace

void background_rows(const double* poses, std::size_t n, const float* directions, const float* solid,
                     std::size_t q, float step, float reach, const Detector& detector,
                     const TissueGrid& tissue, const Lattice& lattice, float* out, int threads) {
    const std::size_t k = lattice.nx * lattice.ny * lattice.nz;
    for_chunks(threads, [&](std::size_t chunk) {
        for (std::size_t i = chunk_begin(chunk, n); i < chunk_begin(chunk + 1, n); ++i) {
            const Pose pose = to_pose(poses + 16 * i);
            float* row = out + i * k;
            std::fill(row, row + k, 0.0f);
            for (std::size_t j = 0; j < q; ++j)
                trace_background(detector, tissue, pose, directions + 3 * j, solid[j], step, reach, lattice,
                                 row);
        }
    });
}

void response_rows(const float* points, std::size_t m, const double* poses, const double* weights,
                   const std::int64_t* first, std::size_t n, const Detector& detector,
                   const TissueGrid& tissue, float* out, int threads) {
    const bool use_fan = tissue.values != nullptr && m >= kFanPays;
    for_chunks(threads, [&](std::size_t chunk) {
        PathFan fan(detector);
        for (std::size_t i = chunk_begin(chunk, n); i < chunk_begin(chunk + 1, n); ++i) {
            float* row = out + i * m;
            std::fill(row, row + m, 0.0f);
            for (std::int64_t k = first[i]; k < first[i + 1]; ++k) {
                const Pose pose = to_pose(poses + 16 * k);
                const float weight = static_cast<float>(weights[k]);
                if (use_fan) {
                    fan.trace(tissue, pose);
                    add_row(detector, fan, pose, points, 0, m, weight, row);
                    continue;
                }
                for (std::size_t j = 0; j < m; ++j)
                    row[j] += weight * point_response(detector, tissue, pose, points + 3 * j);
            }
        }
    });
}

}  // namespace gammanav
