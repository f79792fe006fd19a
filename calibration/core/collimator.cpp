// The crystal seen through its bore: one exponential for each point of the crystal and each place of the source.
#include "collimator.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

// One source, several widths of vector; the loader picks what the processor has.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define GAMMANAV_WIDE __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define GAMMANAV_WIDE
#endif

namespace gammanav {
namespace {

// Keeps the penetrated path finite on the axis, and directions where a point lies right under the source.
constexpr double smallest_sine = 1e-3, smallest_offset = 1e-9;
// Adding this rounds to a whole number and leaves it in the lowest bits.
constexpr double rounder = 6755399441055744.0;
constexpr double lowest = -700.0;

// exp(x) for lowest <= x <= 0 within 2 units in the last place: Taylor's series after taking out powers of two.
inline double exp_of_negative(double x) {
    x = x < lowest ? lowest : x;
    const double whole = x * 1.4426950408889634 + rounder;
    const double n = whole - rounder;
    const double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const auto power = (std::bit_cast<std::uint64_t>(whole) + 1023u) << 52;
    return p * std::bit_cast<double>(power);
}

inline double above_zero(double v) { return v > 0.0 ? v : 0.0; }
inline double smaller(double a, double b) { return a < b ? a : b; }

// Weighted visibility / distance^2 of each point of one layer, `behind` the face and `deep` in the crystal.
GAMMANAV_WIDE
void layer(const Bore& bore, const double* x, const double* y, const double* weight, std::size_t n, double behind,
           double deep, double r, double z, double* seen) {
    const double height = z + behind, at_face = behind / height;
    const double aperture = bore.aperture, wall = bore.wall, rim = bore.rim, stopping = bore.stopping;
    const double crystal2 = bore.crystal * bore.crystal;
    for (std::size_t k = 0; k < n; ++k) {
        const double dx = r - x[k], dy = -y[k];
        const double across2 = dx * dx + dy * dy + smallest_offset;
        const double distance2 = across2 + height * height;
        const double distance = std::sqrt(distance2), across = std::sqrt(across2);
        const double sine = across / distance + smallest_sine;
        const double fx = x[k] + dx * at_face, fy = y[k] + dy * at_face;
        const double outside = above_zero(std::sqrt(fx * fx + fy * fy) - aperture);
        const double along = (x[k] * dx + y[k] * dy) / across;
        const double side =
            std::sqrt(above_zero(along * along - (x[k] * x[k] + y[k] * y[k]) + crystal2)) - along;
        const double shield = smaller(outside, wall) / sine;
        const double crystal = smaller(deep * distance / height, side / sine);
        seen[k] = weight[k] * exp_of_negative(-(rim * shield + stopping * crystal)) / distance2;
    }
}

}  // namespace

void collimated(const Bore& bore, const Disc& disc, const Depths& depths, const double* r, const double* z,
                std::size_t n, double* out) {
    std::vector<double> seen(disc.n);
    for (std::size_t i = 0; i < n; ++i) {
        double total = 0.0;
        for (std::size_t d = 0; d < depths.n; ++d) {
            const double deep = bore.thickness * depths.share[d];
            layer(bore, disc.x, disc.y, disc.weight, disc.n, bore.recess + deep, deep, r[i], z[i], seen.data());
            double sum = 0.0;
            for (const double value : seen) sum += value;
            total += depths.weight[d] * sum;
        }
        out[i] = bore.stopping * bore.thickness * total;
    }
}

}  // namespace gammanav
