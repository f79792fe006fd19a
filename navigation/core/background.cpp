// Background rows: rays from the crystal through the tissue, spread over a lattice of hats.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core.hpp"
#include "parallel.hpp"
#include "response.hpp"

namespace gammanav {
namespace {

// Where a place lies on an axis, in nodes from 0 to `top`; what is no number lies at 0.
inline float along_axis(float nodes, float top) { return nodes > 0.0f ? std::min(nodes, top) : 0.0f; }

inline float lerp_grid(const TissueGrid& g, float x, float y, float z) {
    const float inv = 1.0f / g.spacing;
    const float fx = along_axis((x - g.origin[0]) * inv, static_cast<float>(g.nx - 1) - 1e-3f);
    const float fy = along_axis((y - g.origin[1]) * inv, static_cast<float>(g.ny - 1) - 1e-3f);
    const float fz = along_axis((z - g.origin[2]) * inv, static_cast<float>(g.nz - 1) - 1e-3f);
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

// Adds `value` to the eight hats round a place; beyond the lattice its border continues.
inline void add_to_lattice(const Lattice& g, const float x[3], float value, float* row) {
    const std::size_t n[3] = {g.nx, g.ny, g.nz};
    std::size_t low[3];
    float a[3];
    for (int i = 0; i < 3; ++i) {
        const float f = along_axis((x[i] - g.origin[i]) / g.spacing, static_cast<float>(n[i] - 1));
        low[i] = std::min(static_cast<std::size_t>(f), n[i] - 2);
        a[i] = f - static_cast<float>(low[i]);
    }
    for (int c = 0; c < 8; ++c) {
        const int i = c & 1, j = c >> 1 & 1, k = c >> 2;
        const float w = (i ? a[0] : 1 - a[0]) * (j ? a[1] : 1 - a[1]) * (k ? a[2] : 1 - a[2]);
        row[((low[2] + k) * g.ny + low[1] + j) * g.nx + low[0] + i] += w * value;
    }
}

// A place on a ray as the tip sees it, the same for every pose: where, how far from the face, and the response there.
struct Stop {
    float x, y, z, along;
    Parts response;
};

// The stops of all rays, `per_ray` each, from the face outwards.
std::vector<Stop> stops_of(const Detector& d, const float* directions, std::size_t q, float step, float reach,
                           std::size_t per_ray) {
    std::vector<Stop> stops;
    stops.reserve(q * per_ray);
    for (std::size_t j = 0; j < q; ++j) {
        const float* u = directions + 3 * j;
        const float start = d.recess / u[2];  // distance from the crystal at which the ray leaves the face
        const float sine = std::sqrt(u[0] * u[0] + u[1] * u[1]);
        for (float along = 0.5f * step; along < reach; along += step) {
            const float rho = start + along, z = u[2] * rho - d.recess;
            stops.push_back({u[0] * rho, u[1] * rho, z, along, look_up(d, sine * rho, z)});
        }
    }
    return stops;
}

// One ray of the background: marched from the face outwards, tissue path and attenuation as it goes.
void trace_background(const Detector& d, const TissueGrid& tissue, const Pose& pose, const Stop* stops,
                      std::size_t n, float solid, float step, const Lattice& lattice, float* row) {
    float path = 0.0f;
    for (const Stop* at = stops; at != stops + n; ++at) {
        float x[3];
        for (int i = 0; i < 3; ++i)
            x[i] = pose.t[i] + pose.r[3 * i] * at->x + pose.r[3 * i + 1] * at->y + pose.r[3 * i + 2] * at->z;
        const float density = tissue.values == nullptr ? 1.0f : lerp_grid(tissue, x[0], x[1], x[2]);
        const float middle = path + 0.5f * step * density;
        path += step * density;
        if (density <= 0.0f) continue;
        const Parts g = at->response;
        const float value = (g.primary + g.scatter * middle / at->along) * std::exp(-d.mu * middle);
        add_to_lattice(lattice, x, value * density * step * solid * 1e-3f, row);
    }
}

}  // namespace

void background_rows(const double* poses, std::size_t n, const float* directions, const float* solid,
                     std::size_t q, float step, float reach, const Detector& detector,
                     const TissueGrid& tissue, const Lattice& lattice, float* out, int threads) {
    const std::size_t k = lattice.nx * lattice.ny * lattice.nz;
    std::size_t per_ray = 0;
    for (float along = 0.5f * step; along < reach; along += step) ++per_ray;
    const std::vector<Stop> stops = stops_of(detector, directions, q, step, reach, per_ray);
    for_chunks(threads, [&](std::size_t chunk) {
        for (std::size_t i = chunk_begin(chunk, n); i < chunk_begin(chunk + 1, n); ++i) {
            const Pose pose = to_pose(poses + 16 * i);
            float* row = out + i * k;
            std::fill(row, row + k, 0.0f);
            for (std::size_t j = 0; j < q; ++j)
                trace_background(detector, tissue, pose, stops.data() + j * per_ray, per_ray, solid[j], step,
                                 lattice, row);
        }
    });
}

}  // namespace gammanav
