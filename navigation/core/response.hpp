// One pose's response to many points: what the row kernels take and what the row build hands them.
#pragma once

#include <cstddef>

#include "core.hpp"

namespace gammanav {

struct Pose {
    float r[9];  // rotation, row-major: tip to Reference
    float t[3];
};

inline Pose to_pose(const double* m) {
    Pose p;
    for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) p.r[3 * i + j] = static_cast<float>(m[4 * i + j]);
        p.t[i] = static_cast<float>(m[4 * i + 3]);
    }
    return p;
}

// Tissue path of one pose over direction and depth: a fan of rays, marched once, looked up for every point. Directions
// are (px, py) / (r + z + recess) in (-1, 1)^2 on kFanSide^2 nodes; depth counts from the face, in steps of kFanStep.
inline constexpr int kFanSide = 18, kFanDepths = 40;
inline constexpr float kFanStep = 3.0f;
inline constexpr int kFanRays = kFanSide * kFanSide;
// Rays, padded to whole vectors.
inline constexpr int kFanPadded = (kFanRays + 15) / 16 * 16;
// Floats of a fan: path[depth][b][a] beside that of b + 1, so that four neighbours lie side by side.
inline constexpr int kFanRow = kFanSide * 2, kFanLayer = (kFanSide - 1) * kFanRow;
inline constexpr std::size_t kFanSize = static_cast<std::size_t>(kFanDepths) * kFanLayer;

// Unit vectors of the fan's rays in the tip frame, and how far from the crystal each leaves the face, per recess.
struct FanRays {
    float x[kFanPadded], y[kFanPadded], z[kFanPadded], start[kFanPadded];
};
const FanRays& fan_rays();

// Points side by side, padded to a multiple of 16 with copies of the last one.
struct Points {
    const float *x, *y, *z;
};

// The tissue path comes from the `fan`; without one each ray is marched through the tissue; without tissue
// everything in front of the face is tissue.
struct ResponseTask {
    const Detector* detector;
    const TissueGrid* tissue;
    const float* fan;
    Pose pose;
    Points points;
    float weight;
    bool add;  // to what the row holds already
};

// Worst-case relative error of the kernels' exponential, against the exact one of the same argument.
inline constexpr float kExponentialError = 3e-7f;

}  // namespace gammanav
