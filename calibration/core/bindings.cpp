// The only file of the calibration's native part that knows Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <vector>

#include "collimator.hpp"

namespace nb = nanobind;

namespace {

using Vector = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Result = nb::ndarray<nb::numpy, double, nb::ndim<1>>;

Result collimated(Vector bore, Vector x, Vector y, Vector weight, Vector depth, Vector depth_weight, Vector r,
                  Vector z) {
    if (bore.size() != 7) throw std::invalid_argument("bore: seven numbers");
    if (x.size() != y.size() || x.size() != weight.size()) throw std::invalid_argument("x, y, weight: one length");
    if (depth.size() != depth_weight.size()) throw std::invalid_argument("depth, depth_weight: one length");
    if (r.size() != z.size()) throw std::invalid_argument("r, z: one length");
    const double* b = bore.data();
    const gammanav::Bore probe{b[0], b[1], b[2], b[3], b[4], b[5], b[6]};
    auto* out = new double[r.size()];
    nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<double*>(p); });
    {
        nb::gil_scoped_release release;
        gammanav::collimated(probe, {x.data(), y.data(), weight.data(), x.size()},
                             {depth.data(), depth_weight.data(), depth.size()}, r.data(), z.data(), r.size(), out);
    }
    return Result(out, {r.size()}, owner);
}

}  // namespace

NB_MODULE(_physics, m) {
    m.def("collimated", &collimated, nb::arg("bore"), nb::arg("x"), nb::arg("y"), nb::arg("weight"),
          nb::arg("depth"), nb::arg("depth_weight"), nb::arg("r"), nb::arg("z"),
          "Mean over the crystal of visibility / distance^2 (n,), 1/mm2, of points at r, z (n,) before the face.\n\n"
          "bore (7,): aperture, crystal radius, recess (mm), rim (1/mm), thickness (mm), stopping (1/mm), wall (mm);\n"
          "x, y, weight (k,) over the crystal's disc; depth, depth_weight (m,) as shares of its thickness.");
}
