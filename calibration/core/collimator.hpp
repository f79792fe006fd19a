#pragma once

#include <cstddef>

namespace gammanav {

// Geometry of a bore in front of a crystal; lengths mm, attenuation 1/mm.
struct Bore {
    double aperture, crystal, recess, rim, thickness, stopping, wall;
};

// Points over half the crystal's disc (its mirror image counts the same) with weights that sum to one.
struct Disc {
    const double *x, *y, *weight;
    std::size_t n;
};

// Depths in the crystal as fractions of its thickness, with weights that sum to one.
struct Depths {
    const double *share, *weight;
    std::size_t n;
};

// out[i]: mean over the crystal of visibility / distance^2, in 1/mm^2, for a point at (r[i], z[i]) before the face.
void collimated(const Bore& bore, const Disc& disc, const Depths& depths, const double* r, const double* z,
                std::size_t n, double* out);

}  // namespace gammanav
