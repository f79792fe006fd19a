// Which kernels run on this machine.
#include <atomic>
#include <cstring>

#include "halfrow.hpp"

namespace gammanav {
namespace {

bool machine_has(const Kernels* table) {
    if (table == nullptr) return false;
#if defined(__x86_64__)
    const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
    if (table == kAvx512Kernels) return wide && __builtin_cpu_supports("avx512f");
    if (table == kAvx2Kernels) return wide;
#endif
    return true;
}

const Kernels* best() {
    for (const Kernels* table : {kAvx512Kernels, kAvx2Kernels})
        if (machine_has(table)) return table;
    return kPortableKernels;
}

std::atomic<const Kernels*> in_use{nullptr};

}  // namespace

const Kernels& kernels() {
    const Kernels* table = in_use.load(std::memory_order_acquire);
    if (table == nullptr) in_use.store(table = best(), std::memory_order_release);
    return *table;
}

const char* instruction_set() { return kernels().name; }

const Kernels* kernels_named(const char* name) {
    for (const Kernels* table : {kAvx512Kernels, kAvx2Kernels, kPortableKernels})
        if (machine_has(table) && std::strcmp(table->name, name) == 0) return table;
    return nullptr;
}

void use_kernels(const Kernels* chosen) { in_use.store(chosen, std::memory_order_release); }

}  // namespace gammanav
