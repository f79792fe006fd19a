// The kernels for processors with AVX-512; empty where the compiler has none.
#include "halfrow.hpp"

#if defined(__AVX512F__)
#include "kernels.inl"

namespace gammanav {
namespace {
constexpr Kernels kTable{"avx512", dot, axpy, axpy_two, pack, widen};
}
const Kernels* const kAvx512Kernels = &kTable;
}  // namespace gammanav
#else
namespace gammanav {
const Kernels* const kAvx512Kernels = nullptr;
}  // namespace gammanav
#endif
