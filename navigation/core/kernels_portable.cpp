// The kernels for any processor.
#include "kernels.inl"

namespace gammanav {
namespace {
constexpr Kernels kTable{"portable", dot, axpy, axpy_two, pack, widen};
}
const Kernels* const kPortableKernels = &kTable;
}  // namespace gammanav
