// The kernels for processors with AVX2; empty where the compiler has none.
#include "halfrow.hpp"

#if defined(__AVX2__)
#include "kernels.inl"
#include "responsekernels.inl"
#include "sumkernels.inl"

namespace gammanav {
namespace {
constexpr Kernels kTable{"avx2", dot,   axpy,    axpy_two,     add_powers, dots,
                         pack,      widen, respond, respond_each, trace_fan};
}
const Kernels* const kAvx2Kernels = &kTable;
}  // namespace gammanav
#else
namespace gammanav {
const Kernels* const kAvx2Kernels = nullptr;
}  // namespace gammanav
#endif
