// The kernels for any processor.
#include "kernels.inl"
#include "responsekernels.inl"
#include "sumkernels.inl"

namespace gammanav {
namespace {
constexpr Kernels kTable{"portable", dot,   axpy,    axpy_two,     add_powers, dots,
                         pack,      widen, respond, respond_each, trace_fan};
}
const Kernels* const kPortableKernels = &kTable;
}  // namespace gammanav
