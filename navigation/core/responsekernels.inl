// The response of one pose to sixteen points at once, compiled once per instruction set by the kernels_*.cpp files.
#include "lanes.hpp"
#include "response.hpp"

namespace gammanav {
namespace {

constexpr float kFourPi = 12.56637061f;
// Sampling of a ray through the tissue grid: finer than the grid's own spacing gains nothing.
constexpr float kRayStep = 4.0f;
constexpr float kFewestRaySteps = 2.0f, kMostRaySteps = 96.0f;
// Keeps the last place inside the last cell of a grid.
constexpr float kInside = 1e-3f;

// exp(-x) for x >= 0; below exp(-87) it stays there. Taylor to the sixth power over half an octave: its remainder is
// 1.2e-7, with the roundings kExponentialError.
GAMMANAV_INLINE Lanes decay(Lanes x) {
    const Lanes y = larger(splat(0.0f) - x, splat(-87.0f));
    const Lanes n = towards_zero(y * splat(1.44269504f) - splat(0.5f));
    // ln 2 in two parts, the first short enough for an exact product.
    const Lanes r = y - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
    constexpr float taylor[] = {1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f};
    Lanes sum = splat(1.0f / 720.0f);
    for (const float c : taylor) sum = sum * r + splat(c);
    return sum * power_of_two(whole(n));
}

GAMMANAV_INLINE Lanes between(Lanes low, Lanes high, Lanes share) { return low + share * (high - low); }

// Two channels side by side, bilinear: cell at[l], the next along the inner axis, `stride` floats on along the outer.
GAMMANAV_INLINE void two_channels(const float* base, const std::int32_t* at, std::size_t stride, Lanes inner,
                                  Lanes outer, Lanes out[2]) {
    Lanes edge[4];
    quads_between(base, at, stride, outer, edge);
    for (int c = 0; c < 2; ++c) out[c] = between(edge[c], edge[c + 2], inner);
}

struct Cell {
    Lanes index, share;
};

// The cell of a place >= 0.
GAMMANAV_INLINE Cell cell_of(Lanes place) {
    const Lanes index = towards_zero(place);
    return {index, place - index};
}
// The same where the place may be that of the last node: then of the cell before it, `last`.
GAMMANAV_INLINE Cell cell_of(Lanes place, float last) {
    const Lanes index = smaller(towards_zero(place), splat(last));
    return {index, place - index};
}

GAMMANAV_INLINE Lanes clamped(Lanes a, float low, float high) {
    return smaller(larger(a, splat(low)), splat(high));
}

// Sixteen rays through the tissue, sampled at up to kMostRaySteps places each. All places are worked out before the
// first is looked up: taking an index back from memory right after it was put there is slow.
constexpr std::size_t kMostSteps = static_cast<std::size_t>(kMostRaySteps);
struct Samples {
    std::int32_t at[kMostSteps * kLanes];
    float x[kMostSteps * kLanes], y[kMostSteps * kLanes], z[kMostSteps * kLanes];
};

// Indices below 2^24 are exact in single precision.
GAMMANAV_INLINE void place_in_tissue(const TissueGrid& g, const Lanes x[3], Samples& s, std::size_t i) {
    const std::size_t n[3] = {g.nx, g.ny, g.nz};
    const Lanes inverse = splat(1.0f / g.spacing);
    Cell cell[3];
    for (int a = 0; a < 3; ++a) {
        const float top = static_cast<float>(n[a] - 1);
        cell[a] = cell_of(clamped((x[a] - splat(g.origin[a])) * inverse, 0.0f, top - kInside), top - 1.0f);
    }
    const Lanes nx = splat(static_cast<float>(g.nx)), ny = splat(static_cast<float>(g.ny));
    const Lanes index = (cell[2].index * ny + cell[1].index) * nx + cell[0].index;
    store(s.at + i * kLanes, whole(g.paired != nullptr ? index + index : index));
    store(s.x + i * kLanes, cell[0].share);
    store(s.y + i * kLanes, cell[1].share);
    store(s.z + i * kLanes, cell[2].share);
}

GAMMANAV_INLINE Lanes tissue_at(const TissueGrid& g, const Samples& s, std::size_t i) {
    const std::int32_t* at = s.at + i * kLanes;
    const Lanes x = load(s.x + i * kLanes), y = load(s.y + i * kLanes), z = load(s.z + i * kLanes);
    Lanes row[2];
    if (g.paired != nullptr) {
        two_channels(g.paired, at, 2 * g.nx * g.ny, x, z, row);
        return between(row[0], row[1], y);
    }
    for (std::size_t k = 0; k < 2; ++k) {
        Lanes low[2], high[2];
        pairs(g.values + k * g.nx, at, low);
        pairs(g.values + k * g.nx + g.nx * g.ny, at, high);
        row[k] = between(between(low[0], high[0], z), between(low[1], high[1], z), x);
    }
    return between(row[0], row[1], y);
}

// A pose, or sixteen of them, in lanes.
struct PoseLanes {
    Lanes r[9], t[3];
};

// Points go through the stages of the model in tiles: within a stage neighbouring vectors do not wait for each other.
constexpr std::size_t kTile = 256;
struct Tile {
    float z[kTile];           // in front of the face
    float through[kTile];     // length of the ray in front of the face
    float d2[kTile];
    float w[kTile], v[kTile]; // place in the table, 0 to 1
    float a[kTile], b[kTile]; // direction in the fan
    float path[kTile];        // of it in tissue
    float primary[kTile], scatter[kTile];
    std::int32_t at[kTile];   // the cell that is looked up next, and the place in it
    float inner[kTile], outer[kTile], side[kTile];
};

// Where sixteen points are in the tip frame, and their rays. What lies behind the face is given a harmless place.
GAMMANAV_INLINE void see(const Detector& d, const PoseLanes& p, const Lanes x[3], Tile& tile, std::size_t j) {
    const Lanes ex = x[0] - p.t[0], ey = x[1] - p.t[1], ez = x[2] - p.t[2];
    const Lanes px = p.r[0] * ex + p.r[3] * ey + p.r[6] * ez;
    const Lanes py = p.r[1] * ex + p.r[4] * ey + p.r[7] * ez;
    const Lanes front = p.r[2] * ex + p.r[5] * ey + p.r[8] * ez;
    const Lanes r2 = px * px + py * py, height = front + splat(d.recess), r = root(r2);
    const Lanes d2 = larger(r2 + height * height, splat(1.0f));
    const Lanes z = choose(above(front, splat(0.0f)), front, splat(1.0f));
    // One division for three reciprocals.
    const Lanes zh = z + splat(d.recess), reach = r + zh, deep = z + splat(d.depth_scale);
    const Lanes inverse = splat(1.0f) / (zh * deep * reach);
    const Lanes per_reach = inverse * zh * deep;
    store(tile.z + j, front);
    store(tile.through + j, root(d2) * z * (inverse * deep * reach));
    store(tile.d2 + j, d2);
    store(tile.w + j, splat(d.depth_scale) * (inverse * zh * reach));
    store(tile.v + j, r * per_reach);
    store(tile.a + j, px * per_reach);
    store(tile.b + j, py * per_reach);
}

GAMMANAV_INLINE void place_in_fan(Tile& tile, std::size_t j) {
    constexpr float scale = kFanSide - 1, top = scale - kInside, deepest = kFanDepths - 1;
    const auto node = [&](const float* side) {
        return cell_of(clamped(load(side + j) * splat(0.5f * scale) + splat(0.5f * scale), 0.0f, top));
    };
    const Cell a = node(tile.a), b = node(tile.b);
    const Cell k = cell_of(smaller(load(tile.through + j) * splat(1.0f / kFanStep), splat(deepest - kInside)));
    store(tile.at + j, whole(k.index * splat(kFanLayer) + (b.index * splat(kFanRow) + (a.index + a.index))));
    store(tile.inner + j, a.share);
    store(tile.outer + j, k.share);
    store(tile.side + j, b.share);
}

GAMMANAV_INLINE Lanes fan_path(const float* fan, const Tile& tile, std::size_t j) {
    Lanes side[2];
    two_channels(fan, tile.at + j, kFanLayer, load(tile.inner + j), load(tile.outer + j), side);
    // Beyond the last depth of the fan the body goes on.
    const Lanes through = load(tile.through + j);
    const Lanes beyond = larger(through - splat(kFanStep * (kFanDepths - 1)), splat(0.0f));
    return smaller(between(side[0], side[1], load(tile.side + j)) + beyond, through);
}

// Tissue on the way from the face to each point.
GAMMANAV_INLINE Lanes ray_path(const Detector& d, const TissueGrid& g, const PoseLanes& p, const Lanes to[3],
                               const Tile& tile, std::size_t j) {
    const Lanes through = load(tile.through + j), z = load(tile.z + j);
    const Lanes steps =
        clamped(towards_zero(through * splat(1.0f / kRayStep)) + splat(1.0f), kFewestRaySteps, kMostRaySteps);
    const Lanes inverse = splat(1.0f) / steps;
    // Where the ray to the crystal crosses the plane of the face: recess / (z + recess) of the way.
    const Mask front = above(z, splat(0.0f));
    const Lanes height = choose(front, z, splat(1.0f)) + splat(d.recess);
    const Lanes back = (height - splat(d.recess)) / height;
    Lanes from[3], step[3];
    for (int i = 0; i < 3; ++i) {
        const Lanes crystal = p.t[i] - splat(d.recess) * p.r[3 * i + 2];
        step[i] = back * (to[i] - crystal) * inverse;
        from[i] = to[i] - back * (to[i] - crystal);
    }
    const Lanes wanted = choose(front, steps, splat(0.0f));
    Samples samples;
    std::size_t n = 0;
    for (; n < kMostSteps && any(above(wanted, splat(static_cast<float>(n)))); ++n) {
        const Lanes at = splat(static_cast<float>(n) + 0.5f);
        const Lanes x[3] = {from[0] + at * step[0], from[1] + at * step[1], from[2] + at * step[2]};
        place_in_tissue(g, x, samples, n);
    }
    Lanes sum = splat(0.0f);
    for (std::size_t i = 0; i < n; ++i)
        sum = sum + choose(above(wanted, splat(static_cast<float>(i))), tissue_at(g, samples, i), splat(0.0f));
    return sum * through * inverse;
}

GAMMANAV_INLINE void place_in_table(const Detector& d, Tile& tile, std::size_t j) {
    const float last_w = static_cast<float>(d.n_w - 1), last_v = static_cast<float>(d.n_v - 1);
    const Cell w = cell_of(load(tile.w + j) * splat(last_w), last_w - 1.0f);
    const Cell v = cell_of(load(tile.v + j) * splat(last_v), last_v - 1.0f);
    const Lanes index = w.index * splat(static_cast<float>(d.n_v)) + v.index;
    store(tile.at + j, whole(index + index));
    store(tile.inner + j, v.share);
    store(tile.outer + j, w.share);
}

GAMMANAV_INLINE void look_up(const float* table, std::size_t stride, Tile& tile, std::size_t j) {
    Lanes part[2];
    two_channels(table, tile.at + j, stride, load(tile.inner + j), load(tile.outer + j), part);
    store(tile.primary + j, part[0]);
    store(tile.scatter + j, part[1]);
}

// (primary + scatter path / length) exp(-mu path) / d2, with one division; behind the face only the leak.
GAMMANAV_INLINE Lanes counted(const Detector& d, const float* paths, const Tile& tile, std::size_t j) {
    const Lanes path = load(paths + j), d2 = load(tile.d2 + j);
    const Lanes length = larger(load(tile.through + j), splat(1e-3f));
    const Lanes parts = load(tile.primary + j) * length + load(tile.scatter + j) * path;
    const Lanes seen = parts * decay(splat(d.mu) * path);
    const Mask front = above(load(tile.z + j), splat(0.0f));
    return choose(front, seen, splat(d.leak / kFourPi)) / choose(front, d2 * length, d2);
}

GAMMANAV_INLINE PoseLanes spread(const Pose& pose) {
    PoseLanes p;
    for (int i = 0; i < 9; ++i) p.r[i] = splat(pose.r[i]);
    for (int i = 0; i < 3; ++i) p.t[i] = splat(pose.t[i]);
    return p;
}

// row[0 .. m) = or += weight * value of the tile.
GAMMANAV_INLINE void put(const Detector& d, float factor, bool add, const float* paths, const Tile& tile,
                         std::size_t m, float* row) {
    const Lanes weight = splat(factor);
    for (std::size_t j = 0; j < m; j += kLanes) {
        const Lanes value = weight * counted(d, paths, tile, j);
        if (j + kLanes <= m) {
            store(row + j, add ? load(row + j) + value : value);
            continue;
        }
        float rest[kLanes] = {};
        if (add) std::memcpy(rest, row + j, (m - j) * sizeof(float));
        store(rest, load(rest) + value);
        std::memcpy(row + j, rest, (m - j) * sizeof(float));
    }
}

// row[0 .. to - from) of points from .. to; `from` is a multiple of 16.
void respond(const ResponseTask& task, std::size_t from, std::size_t to, float* row) {
    // Copies: what the tile's stores cannot change stays in registers.
    const ResponseTask t = task;
    const Detector d = *t.detector;
    const TissueGrid tissue = *t.tissue;
    const PoseLanes pose = spread(t.pose);
    const Points at = t.points;
    const bool rays = t.fan == nullptr && tissue.values != nullptr;
    Tile tile;
    for (; from < to; from += kTile, row += kTile) {
        const std::size_t m = to - from < kTile ? to - from : kTile;
        for (std::size_t j = 0; j < m; j += kLanes) {
            const Lanes x[3] = {load(at.x + from + j), load(at.y + from + j), load(at.z + from + j)};
            see(d, pose, x, tile, j);
            if (rays) store(tile.path + j, ray_path(d, tissue, pose, x, tile, j));
        }
        for (std::size_t j = 0; j < m; j += kLanes) place_in_table(d, tile, j);
        for (std::size_t j = 0; j < m; j += kLanes) look_up(d.table, 2 * d.n_v, tile, j);
        if (t.fan != nullptr) {
            for (std::size_t j = 0; j < m; j += kLanes) place_in_fan(tile, j);
            for (std::size_t j = 0; j < m; j += kLanes) store(tile.path + j, fan_path(t.fan, tile, j));
        }
        put(d, t.weight, t.add, rays || t.fan != nullptr ? tile.path : tile.through, tile, m, row);
    }
}

// value[0 .. 16) of sixteen points, each with a pose of its own.
void respond_each(const Detector& d, const TissueGrid& tissue, const float* poses, const Points& at, float* value) {
    PoseLanes pose;
    for (std::size_t i = 0; i < 9; ++i) pose.r[i] = load(poses + i * kLanes);
    for (std::size_t i = 0; i < 3; ++i) pose.t[i] = load(poses + (9 + i) * kLanes);
    const Lanes x[3] = {load(at.x), load(at.y), load(at.z)};
    Tile tile;
    see(d, pose, x, tile, 0);
    if (tissue.values != nullptr) store(tile.path, ray_path(d, tissue, pose, x, tile, 0));
    place_in_table(d, tile, 0);
    look_up(d.table, 2 * d.n_v, tile, 0);
    store(value, counted(d, tissue.values != nullptr ? tile.path : tile.through, tile, 0));
}

// Sums along sixteen rays at a time; `sums` (kFanDepths, kFanPadded) is scratch.
void trace_fan(const Detector& d, const TissueGrid& grid, const Pose& p, const FanRays& rays, float* sums,
               float* fan) {
    const TissueGrid g = grid;
    for (int ray = 0; ray < kFanPadded; ray += static_cast<int>(kLanes)) {
        const Lanes ux = load(rays.x + ray), uy = load(rays.y + ray), uz = load(rays.z + ray);
        const Lanes start = splat(d.recess) * load(rays.start + ray);
        Lanes along[3], crystal[3];
        for (int i = 0; i < 3; ++i) {
            along[i] = splat(p.r[3 * i]) * ux + splat(p.r[3 * i + 1]) * uy + splat(p.r[3 * i + 2]) * uz;
            crystal[i] = splat(p.t[i] - d.recess * p.r[3 * i + 2]);
        }
        Samples samples;
        for (int k = 1; k < kFanDepths; ++k) {
            const Lanes rho = start + splat((static_cast<float>(k) - 0.5f) * kFanStep);
            Lanes x[3];
            for (int i = 0; i < 3; ++i) x[i] = crystal[i] + rho * along[i];
            place_in_tissue(g, x, samples, static_cast<std::size_t>(k));
        }
        Lanes sum = splat(0.0f);
        store(sums + ray, sum);
        for (int k = 1; k < kFanDepths; ++k) {
            sum = sum + splat(kFanStep) * tissue_at(g, samples, static_cast<std::size_t>(k));
            store(sums + k * kFanPadded + ray, sum);
        }
    }
    for (int k = 0; k < kFanDepths; ++k)
        for (int i = 0; i < kFanSide * (kFanSide - 1); ++i) {
            fan[k * kFanLayer + 2 * i] = sums[k * kFanPadded + i];
            fan[k * kFanLayer + 2 * i + 1] = sums[k * kFanPadded + i + kFanSide];
        }
}

}  // namespace
}  // namespace gammanav
