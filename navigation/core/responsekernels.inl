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
    const Ints octave = whole(y * splat(1.44269504f) - splat(0.5f));
    const Lanes n = real(octave);
    // ln 2 in two parts, the first short enough for an exact product.
    const Lanes r = y - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
    constexpr float taylor[] = {1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f};
    Lanes sum = splat(1.0f / 720.0f);
    for (const float c : taylor) sum = sum * r + splat(c);
    return sum * power_of_two(octave);
}

GAMMANAV_INLINE Lanes between(Lanes low, Lanes high, Lanes share) { return low + share * (high - low); }

// Two channels side by side, bilinear: cell at[l] and the next along the inner axis, `stride` floats on along the outer.
GAMMANAV_INLINE void two_channels(const float* base, const std::int32_t* at, std::size_t stride, Lanes inner,
                                  Lanes outer, Lanes out[2]) {
    Lanes low[4], high[4];
    quads(base, at, low);
    quads(base + stride, at, high);
    for (int c = 0; c < 2; ++c)
        out[c] = between(between(low[c], low[c + 2], inner), between(high[c], high[c + 2], inner), outer);
}

// Where each lane looks up. They go through memory: taking them out of a vector one by one is slower.
struct Places {
    std::int32_t of[kLanes];
    GAMMANAV_INLINE void put(Ints index) {
        store(of, index);
        __asm__("" : "+m"(of));
    }
};

struct Cell {
    Ints index;
    Lanes share;
};

// The cell of a place on an axis of `n` nodes whose last cell is n - 2.
GAMMANAV_INLINE Cell cell_of(Lanes place, float last) {
    const Ints index = smaller(whole(place), splat_int(static_cast<std::int32_t>(last)));
    return {index, place - real(index)};
}

GAMMANAV_INLINE Lanes clamped(Lanes a, float low, float high) {
    return smaller(larger(a, splat(low)), splat(high));
}

GAMMANAV_INLINE Lanes tissue_at(const TissueGrid& g, const Lanes x[3]) {
    const std::size_t n[3] = {g.nx, g.ny, g.nz};
    const Lanes inverse = splat(1.0f / g.spacing);
    Cell cell[3];
    for (int i = 0; i < 3; ++i) {
        const float top = static_cast<float>(n[i] - 1);
        cell[i] = cell_of(clamped((x[i] - splat(g.origin[i])) * inverse, 0.0f, top - kInside), top - 1.0f);
    }
    Places at;
    const auto nx = static_cast<std::int32_t>(g.nx), ny = static_cast<std::int32_t>(g.ny);
    const Ints index = (cell[2].index * splat_int(ny) + cell[1].index) * splat_int(nx) + cell[0].index;
    if (g.paired != nullptr) {
        Lanes row[2];
        at.put(index + index);
        two_channels(g.paired, at.of, 2 * g.nx * g.ny, cell[0].share, cell[2].share, row);
        return between(row[0], row[1], cell[1].share);
    }
    at.put(index);
    Lanes row[2];
    for (std::size_t y = 0; y < 2; ++y) {
        Lanes low[2], high[2];
        pairs(g.values + y * g.nx, at.of, low);
        pairs(g.values + y * g.nx + g.nx * g.ny, at.of, high);
        row[y] = between(between(low[0], low[1], cell[0].share), between(high[0], high[1], cell[0].share),
                         cell[2].share);
    }
    return between(row[0], row[1], cell[1].share);
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

GAMMANAV_INLINE Lanes fan_path(const float* fan, const Tile& tile, std::size_t j) {
    constexpr float scale = kFanSide - 1, top = scale - kInside, deepest = kFanDepths - 1;
    const auto node = [&](const float* side) {
        const Lanes place = load(side + j) * splat(0.5f * scale) + splat(0.5f * scale);
        return cell_of(clamped(place, 0.0f, top), scale - 1.0f);
    };
    const Cell a = node(tile.a), b = node(tile.b);
    const Lanes through = load(tile.through + j);
    const Cell k =
        cell_of(smaller(through * splat(1.0f / kFanStep), splat(deepest - kInside)), deepest - 1.0f);
    Places at;
    at.put(k.index * splat_int(kFanLayer) + b.index * splat_int(kFanRow) + a.index + a.index);
    Lanes side[2];
    two_channels(fan, at.of, kFanLayer, a.share, k.share, side);
    // Beyond the last depth of the fan the body goes on.
    const Lanes beyond = larger(through - splat(kFanStep * deepest), splat(0.0f));
    return smaller(between(side[0], side[1], b.share) + beyond, through);
}

// Tissue on the way from the face to each point.
GAMMANAV_INLINE Lanes ray_path(const Detector& d, const TissueGrid& g, const PoseLanes& p, const Lanes to[3],
                               const Tile& tile, std::size_t j) {
    const Lanes through = load(tile.through + j), z = load(tile.z + j);
    const Lanes steps =
        clamped(real(whole(through * splat(1.0f / kRayStep))) + splat(1.0f), kFewestRaySteps, kMostRaySteps);
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
    Lanes sum = splat(0.0f);
    for (float i = 0.0f;; i += 1.0f) {
        const Mask open = above(wanted, splat(i));
        if (!any(open)) break;
        const Lanes at = splat(i + 0.5f);
        const Lanes x[3] = {from[0] + at * step[0], from[1] + at * step[1], from[2] + at * step[2]};
        sum = sum + choose(open, tissue_at(g, x), splat(0.0f));
    }
    return sum * through * inverse;
}

GAMMANAV_INLINE void look_up(const Detector& d, Tile& tile, std::size_t j) {
    const float last_w = static_cast<float>(d.n_w - 1), last_v = static_cast<float>(d.n_v - 1);
    const Cell w = cell_of(load(tile.w + j) * splat(last_w), last_w - 1.0f);
    const Cell v = cell_of(load(tile.v + j) * splat(last_v), last_v - 1.0f);
    Places at;
    const Ints index = w.index * splat_int(static_cast<std::int32_t>(d.n_v)) + v.index;
    at.put(index + index);
    Lanes part[2];
    two_channels(d.table, at.of, 2 * d.n_v, v.share, w.share, part);
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
GAMMANAV_INLINE void put(const ResponseTask& t, const float* paths, const Tile& tile, std::size_t m, float* row) {
    const Lanes weight = splat(t.weight);
    for (std::size_t j = 0; j < m; j += kLanes) {
        const Lanes value = weight * counted(*t.detector, paths, tile, j);
        if (j + kLanes <= m) {
            store(row + j, t.add ? load(row + j) + value : value);
            continue;
        }
        float rest[kLanes] = {};
        if (t.add) std::memcpy(rest, row + j, (m - j) * sizeof(float));
        store(rest, load(rest) + value);
        std::memcpy(row + j, rest, (m - j) * sizeof(float));
    }
}

// row[0 .. to - from) of points from .. to; `from` is a multiple of 16.
void respond(const ResponseTask& t, std::size_t from, std::size_t to, float* row) {
    const PoseLanes pose = spread(t.pose);
    const Points& at = t.points;
    const bool rays = t.fan == nullptr && t.tissue->values != nullptr;
    Tile tile;
    for (; from < to; from += kTile, row += kTile) {
        const std::size_t m = to - from < kTile ? to - from : kTile;
        for (std::size_t j = 0; j < m; j += kLanes) {
            const Lanes x[3] = {load(at.x + from + j), load(at.y + from + j), load(at.z + from + j)};
            see(*t.detector, pose, x, tile, j);
            if (rays) store(tile.path + j, ray_path(*t.detector, *t.tissue, pose, x, tile, j));
        }
        for (std::size_t j = 0; j < m; j += kLanes) look_up(*t.detector, tile, j);
        if (t.fan != nullptr)
            for (std::size_t j = 0; j < m; j += kLanes) store(tile.path + j, fan_path(t.fan, tile, j));
        put(t, rays || t.fan != nullptr ? tile.path : tile.through, tile, m, row);
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
    look_up(d, tile, 0);
    store(value, counted(d, tissue.values != nullptr ? tile.path : tile.through, tile, 0));
}

// Sums along sixteen rays at a time; `sums` (kFanDepths, kFanPadded) is scratch.
void trace_fan(const Detector& d, const TissueGrid& g, const Pose& p, const FanRays& rays, float* sums, float* fan) {
    for (int ray = 0; ray < kFanPadded; ray += static_cast<int>(kLanes)) {
        const Lanes ux = load(rays.x + ray), uy = load(rays.y + ray), uz = load(rays.z + ray);
        const Lanes start = splat(d.recess) * load(rays.start + ray);
        Lanes along[3], crystal[3];
        for (int i = 0; i < 3; ++i) {
            along[i] = splat(p.r[3 * i]) * ux + splat(p.r[3 * i + 1]) * uy + splat(p.r[3 * i + 2]) * uz;
            crystal[i] = splat(p.t[i] - d.recess * p.r[3 * i + 2]);
        }
        Lanes sum = splat(0.0f);
        store(sums + ray, sum);
        for (int k = 1; k < kFanDepths; ++k) {
            const Lanes rho = start + splat((static_cast<float>(k) - 0.5f) * kFanStep);
            Lanes x[3];
            for (int i = 0; i < 3; ++i) x[i] = crystal[i] + rho * along[i];
            sum = sum + splat(kFanStep) * tissue_at(g, x);
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
