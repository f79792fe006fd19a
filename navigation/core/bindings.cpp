// The only file that knows Python: shapes are checked here once, the GIL is released around every kernel.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>

#include "core.hpp"
#include "halfrow.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T, int D>
using In = nb::ndarray<const T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;
template <class T, int D>
using Out = nb::ndarray<T, nb::ndim<D>, nb::c_contig, nb::device::cpu>;

// Twice an index must be exact in single precision: at 4 mm a cube of 800 mm.
constexpr std::size_t kMostTissueNodes = std::size_t{1} << 23;

void need(bool ok, const char* what) {
    if (!ok) throw std::invalid_argument(what);
}

gammanav::TissueGrid tissue_grid(const std::optional<In<float, 3>>& tissue, const In<float, 1>& origin,
                                 float spacing) {
    need(origin.shape(0) == 3, "origin must be (3,)");
    gammanav::TissueGrid g{nullptr, nullptr, 0, 0, 0, {0, 0, 0}, spacing};
    if (!tissue) return g;
    need(tissue->shape(0) > 1 && tissue->shape(1) > 1 && tissue->shape(2) > 1 && spacing > 0,
         "tissue must be at least 2 voxels along each axis");
    need(tissue->size() < kMostTissueNodes, "tissue has too many voxels");
    g.values = tissue->data();
    g.nz = tissue->shape(0), g.ny = tissue->shape(1), g.nx = tissue->shape(2);
    for (int i = 0; i < 3; ++i) g.origin[i] = origin.data()[i];
    return g;
}

void response_rows(In<float, 2> points, In<double, 3> poses, In<double, 1> weights,
                   In<std::int64_t, 1> first, In<float, 3> table, float recess, float depth_scale,
                   float leak, float mu, std::optional<In<float, 3>> tissue, In<float, 1> origin,
                   float spacing, Out<float, 2> out, int threads) {
    need(points.shape(1) == 3, "points must be (m, 3)");
    need(poses.shape(1) == 4 && poses.shape(2) == 4, "poses must be (p, 4, 4)");
    need(weights.shape(0) == poses.shape(0), "one weight per pose");
    need(first.shape(0) >= 1 && out.shape(0) + 1 == first.shape(0), "first must have n + 1 entries");
    need(first.data()[0] == 0, "first must start at 0");
    for (std::size_t i = 0; i + 1 < first.shape(0); ++i)
        need(first.data()[i] <= first.data()[i + 1], "first must not fall");
    need(first.data()[first.shape(0) - 1] == static_cast<std::int64_t>(poses.shape(0)),
         "first must end at the number of poses");
    need(out.shape(1) == points.shape(0), "out must be (n, m)");
    need(table.shape(2) == 2 && table.shape(0) > 1 && table.shape(1) > 1, "table must be (w, v, 2)");
    gammanav::Detector d{table.data(), table.shape(0), table.shape(1), recess, depth_scale, leak, mu};
    const auto g = tissue_grid(tissue, origin, spacing);
    nb::gil_scoped_release release;
    gammanav::response_rows(points.data(), points.shape(0), poses.data(), weights.data(), first.data(),
                            out.shape(0), d, g, out.data(), threads);
}

void background_rows(In<double, 3> poses, In<float, 2> directions, In<float, 1> solid, float step, float reach,
                     In<float, 3> table, float recess, float depth_scale, float leak, float mu,
                     std::optional<In<float, 3>> tissue, In<float, 1> origin, float spacing,
                     In<std::int64_t, 1> lattice_size, In<float, 1> lattice_origin, float lattice_spacing,
                     Out<float, 2> out, int threads) {
    need(poses.shape(1) == 4 && poses.shape(2) == 4, "poses must be (n, 4, 4)");
    for (std::size_t i = 0; i < poses.size(); ++i) need(std::isfinite(poses.data()[i]), "poses must be finite");
    need(directions.shape(1) == 3 && solid.shape(0) == directions.shape(0), "directions must be (q, 3)");
    need(table.shape(2) == 2 && table.shape(0) > 1 && table.shape(1) > 1, "table must be (w, v, 2)");
    need(lattice_size.shape(0) == 3 && lattice_origin.shape(0) == 3, "lattice must be three-dimensional");
    need(step > 0 && lattice_spacing > 0, "step and lattice spacing must be positive");
    need(std::isfinite(reach), "reach must be finite");
    gammanav::Lattice lattice{};
    std::size_t n[3];
    for (int i = 0; i < 3; ++i) {
        need(lattice_size.data()[i] > 1, "lattice must have at least 2 nodes along each axis");
        n[i] = static_cast<std::size_t>(lattice_size.data()[i]);
        lattice.origin[i] = lattice_origin.data()[i];
    }
    lattice.nx = n[0], lattice.ny = n[1], lattice.nz = n[2], lattice.spacing = lattice_spacing;
    need(out.shape(0) == poses.shape(0) && out.shape(1) == n[0] * n[1] * n[2], "out must be (n, lattice)");
    const auto g = tissue_grid(tissue, origin, spacing);
    gammanav::Detector d{table.data(), table.shape(0), table.shape(1), recess, depth_scale, leak, mu};
    nb::gil_scoped_release release;
    gammanav::background_rows(poses.data(), poses.shape(0), directions.data(), solid.data(),
                              directions.shape(0), step, reach, d, g, lattice, out.data(), threads);
}

void check_store(std::size_t n, std::size_t stride, std::size_t scales) {
    need(stride % 32 == 0, "rows must be padded to a multiple of 32");
    need(scales >= n, "one scale per row");
}

void pack_rows(In<float, 2> rows, Out<std::uint16_t, 2> packed, Out<float, 1> scales, int threads) {
    check_store(rows.shape(0), packed.shape(1), scales.shape(0));
    need(packed.shape(0) == rows.shape(0) && packed.shape(1) >= rows.shape(1), "packed is too small");
    nb::gil_scoped_release release;
    need(gammanav::pack_rows(rows.data(), rows.shape(0), rows.shape(1), packed.data(), packed.shape(1),
                             scales.data(), threads),
         "rows must be finite");
}

void merge_rows(Out<std::uint16_t, 2> packed, Out<float, 1> scales, In<std::int64_t, 1> members,
                In<float, 1> weights, std::size_t target) {
    const std::size_t n = packed.shape(0);
    check_store(n, packed.shape(1), scales.shape(0));
    need(weights.shape(0) == members.shape(0), "one weight per member");
    need(target < n, "no such row");
    for (std::size_t i = 0; i < members.shape(0); ++i)
        need(members.data()[i] >= 0 && static_cast<std::size_t>(members.data()[i]) < n, "no such row");
    nb::gil_scoped_release release;
    gammanav::merge_rows(packed.data(), scales.data(), packed.shape(1), members.data(), weights.data(),
                         members.shape(0), target);
}

void project(In<std::uint16_t, 2> packed, In<float, 1> scales, In<float, 1> x, Out<float, 1> out,
             int threads) {
    check_store(packed.shape(0), packed.shape(1), scales.shape(0));
    need(x.shape(0) == packed.shape(1), "x must have the padded length");
    need(out.shape(0) == packed.shape(0), "out must have one entry per row");
    nb::gil_scoped_release release;
    gammanav::project(packed.data(), scales.data(), packed.shape(0), packed.shape(1),
                      x.data(), out.data(), threads);
}

void back_project(In<std::uint16_t, 2> packed, In<float, 1> scales, In<float, 1> u, Out<float, 1> out,
                  int threads) {
    check_store(packed.shape(0), packed.shape(1), scales.shape(0));
    need(u.shape(0) == packed.shape(0), "u must have one entry per row");
    need(out.shape(0) == packed.shape(1), "out must have the padded length");
    nb::gil_scoped_release release;
    gammanav::back_project(packed.data(), scales.data(), packed.shape(0), packed.shape(1),
                           u.data(), out.data(), threads);
}

void em_subset(In<std::uint16_t, 2> packed, In<float, 1> scales, In<float, 1> counts, In<float, 1> live,
               In<std::uint8_t, 1> saturated, float dead_time, bool paralysable, float limit,
               std::size_t offset, std::size_t step, In<float, 1> prior, float strength, Out<float, 1> x,
               Out<float, 1> sensitivity, int threads, bool known) {
    const std::size_t n = packed.shape(0);
    check_store(n, packed.shape(1), scales.shape(0));
    need(counts.shape(0) == n && live.shape(0) == n && saturated.shape(0) == n, "one entry per row");
    need(x.shape(0) == packed.shape(1) && sensitivity.shape(0) == packed.shape(1) &&
             prior.shape(0) == packed.shape(1),
         "x, prior and sensitivity must have the padded length");
    need(strength >= 0, "strength must not be negative");
    need(step > 0, "step must be positive");
    need(dead_time >= 0 && limit > 0, "dead time and limit must not be negative");
    nb::gil_scoped_release release;
    const gammanav::EmData data{packed.data(), scales.data(),    n, packed.shape(1), counts.data(),
                                live.data(),   saturated.data(), {dead_time, paralysable, limit}};
    gammanav::em_subset(data, offset, step, prior.data(), strength, known, x.data(), sensitivity.data(), threads);
}

void em_sample(In<std::uint16_t, 2> packed, In<float, 1> scales, In<float, 1> counts, In<float, 1> live,
               In<std::uint8_t, 1> saturated, float dead_time, bool paralysable, float limit,
               In<std::int64_t, 1> rows, In<float, 1> weights, In<float, 1> prior, float strength,
               float relaxation, Out<float, 1> x, int threads) {
    const std::size_t n = packed.shape(0);
    check_store(n, packed.shape(1), scales.shape(0));
    need(counts.shape(0) >= n && live.shape(0) >= n && saturated.shape(0) >= n, "one entry per row");
    need(x.shape(0) == packed.shape(1) && prior.shape(0) == packed.shape(1),
         "x and prior must have the padded length");
    need(weights.shape(0) == rows.shape(0), "one weight per row of the sample");
    for (std::size_t i = 0; i < rows.shape(0); ++i)
        need(rows.data()[i] >= 0 && static_cast<std::size_t>(rows.data()[i]) < n, "rows must be of the store");
    need(strength >= 0, "strength must not be negative");
    need(relaxation > 0 && relaxation <= 1, "relaxation must be in (0, 1]");
    need(dead_time >= 0 && limit > 0, "dead time and limit must not be negative");
    nb::gil_scoped_release release;
    const gammanav::EmData data{packed.data(), scales.data(),    n, packed.shape(1), counts.data(),
                                live.data(),   saturated.data(), {dead_time, paralysable, limit}};
    gammanav::em_sample(data, {rows.data(), weights.data(), rows.shape(0)}, prior.data(), strength, relaxation,
                        x.data(), threads);
}

void project_many(In<std::uint16_t, 2> packed, In<float, 1> scales, In<float, 2> images, Out<float, 2> out,
                  int threads) {
    const std::size_t n = packed.shape(0);
    check_store(n, packed.shape(1), scales.shape(0));
    need(images.shape(1) == packed.shape(1), "images must have the padded length");
    need(out.shape(0) == n && out.shape(1) == images.shape(0), "out must be (n, images)");
    nb::gil_scoped_release release;
    gammanav::project_many(packed.data(), scales.data(), n, packed.shape(1), images.data(), images.shape(0),
                           out.data(), threads);
}

void back_project_many(In<std::uint16_t, 2> packed, In<float, 1> scales, In<float, 2> weights, Out<double, 2> out,
                       int threads) {
    const std::size_t n = packed.shape(0);
    check_store(n, packed.shape(1), scales.shape(0));
    need(weights.shape(0) == n, "weights must have one line per row");
    need(out.shape(0) == weights.shape(1) && out.shape(1) == packed.shape(1), "out must be (weightings, stride)");
    nb::gil_scoped_release release;
    gammanav::sum_rows(packed.data(), scales.data(), n, packed.shape(1),
                       {weights.data(), weights.shape(1), nullptr, nullptr}, out.data(), threads);
}

void score_pass(In<std::uint16_t, 2> packed, In<float, 1> scales, In<float, 2> linear, In<float, 1> square,
                In<float, 1> cube, Out<double, 2> out, int threads) {
    const std::size_t n = packed.shape(0);
    check_store(n, packed.shape(1), scales.shape(0));
    need(linear.shape(0) == n && square.shape(0) == n && cube.shape(0) == n, "one entry per row");
    need(out.shape(0) == linear.shape(1) + 2 && out.shape(1) == packed.shape(1), "out must be (sums + 2, stride)");
    nb::gil_scoped_release release;
    gammanav::sum_rows(packed.data(), scales.data(), n, packed.shape(1),
                       {linear.data(), linear.shape(1), square.data(), cube.data()}, out.data(), threads);
}

std::uint64_t read_through(In<std::uint16_t, 2> packed, int threads) {
    nb::gil_scoped_release release;
    return gammanav::read_through(reinterpret_cast<const std::uint64_t*>(packed.data()), packed.size() / 4, threads);
}

bool use_instruction_set(const std::string& name) {
    const gammanav::Kernels* chosen = name.empty() ? nullptr : gammanav::kernels_named(name.c_str());
    if (!name.empty() && chosen == nullptr) return false;
    gammanav::use_kernels(chosen);
    return true;
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "Native core: response rows with attenuation, list-mode EM over float16 rows.";
    m.def("response_rows", &response_rows, "points"_a, "poses"_a, "weights"_a, "first"_a, "table"_a,
          "recess"_a, "depth_scale"_a, "leak"_a, "mu"_a, "tissue"_a.none(), "origin"_a, "spacing"_a,
          "out"_a, "threads"_a = 2, "Responses (n, m) in cps/kBq of n pose paths to m points.");
    m.def("background_rows", &background_rows, "poses"_a, "directions"_a, "solid"_a, "step"_a, "reach"_a,
          "table"_a, "recess"_a, "depth_scale"_a, "leak"_a, "mu"_a, "tissue"_a.none(), "origin"_a,
          "spacing"_a, "lattice_size"_a, "lattice_origin"_a, "lattice_spacing"_a, "out"_a, "threads"_a = 2,
          "Counts per kBq/mL (n, lattice nodes) of a lattice of hats over tissue.");
    m.def("pack_rows", &pack_rows, "rows"_a, "packed"_a, "scales"_a, "threads"_a = 2,
          "Store float32 rows as float16 with one scale per row, padded with zeros.");
    m.def("merge_rows", &merge_rows, "packed"_a, "scales"_a, "members"_a, "weights"_a, "target"_a,
          "Row `target` becomes the weighted sum of the rows `members`.");
    m.def("project", &project, "packed"_a, "scales"_a, "x"_a, "out"_a, "threads"_a = 2, "out = A x");
    m.def("back_project", &back_project, "packed"_a, "scales"_a, "u"_a, "out"_a, "threads"_a = 2,
          "out = A^T u, summed in a fixed order.");
    m.def("em_subset", &em_subset, "packed"_a, "scales"_a, "counts"_a, "live"_a, "saturated"_a,
          "dead_time"_a, "paralysable"_a, "limit"_a, "offset"_a, "step"_a, "prior"_a, "strength"_a, "x"_a,
          "sensitivity"_a, "threads"_a = 2, "known"_a = false,
          "One ordered-subset EM update of x in place; sensitivity receives the subset's, unless it is known.");
    m.def("em_sample", &em_sample, "packed"_a, "scales"_a, "counts"_a, "live"_a, "saturated"_a, "dead_time"_a,
          "paralysable"_a, "limit"_a, "rows"_a, "weights"_a, "prior"_a, "strength"_a, "relaxation"_a, "x"_a,
          "threads"_a = 2, "One relaxed EM update of x in place from some rows of the store, weighted.");
    m.def("project_many", &project_many, "packed"_a, "scales"_a, "images"_a, "out"_a, "threads"_a = 2,
          "out (n, b) = A X^T for images X (b, stride), with one read of A.");
    m.def("back_project_many", &back_project_many, "packed"_a, "scales"_a, "weights"_a, "out"_a, "threads"_a = 2,
          "out (b, stride) = W^T A for weights W (n, b), with one read of A per 32 weightings.");
    m.def("score_pass", &score_pass, "packed"_a, "scales"_a, "linear"_a, "square"_a, "cube"_a, "out"_a,
          "threads"_a = 2,
          "out (b + 2, stride): linear^T A, then the sums of square_i A_ij^2 and of cube_i A_ij^3 over the rows i.");
    m.def("read_through", &read_through, "packed"_a, "threads"_a = 2,
          "Read all rows once and return the sum of their 64-bit words: what a pass is compared with.");
    m.def("use_instruction_set", &use_instruction_set, "name"_a,
          "Run the kernels of this name from now on ('' for the best there is); False where the machine lacks them. "
          "Results do not depend on it.");
    m.def("instruction_set", &gammanav::instruction_set, "Instruction set chosen for this machine.");
}
