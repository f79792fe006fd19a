// The only file of the wire's native part that knows Python.
#include <nanobind/nanobind.h>

#include "crc64.hpp"

namespace nb = nanobind;

namespace {

// Giving up the interpreter's lock costs more than the CRC of anything shorter.
constexpr Py_ssize_t long_bytes = 1 << 15;

class View {
  public:
    explicit View(nb::handle data) {
        if (PyObject_GetBuffer(data.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nb::python_error();
    }
    ~View() { PyBuffer_Release(&view_); }
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    const unsigned char* data() const { return static_cast<const unsigned char*>(view_.buf); }
    Py_ssize_t size() const { return view_.len; }

  private:
    Py_buffer view_;
};

template <std::uint64_t (*kernel)(const unsigned char*, std::size_t) noexcept>
std::uint64_t of(nb::handle data) {
    const View view(data);
    if (view.size() < long_bytes) return kernel(view.data(), static_cast<std::size_t>(view.size()));
    nb::gil_scoped_release release;
    return kernel(view.data(), static_cast<std::size_t>(view.size()));
}

}  // namespace

NB_MODULE(_wire, m) {
    m.def("crc64", &of<gammanav::crc64>, nb::arg("data"),
          nb::sig("def crc64(data: bytes | bytearray | memoryview) -> int"),
          "CRC-64/ECMA-182 of any contiguous buffer: most significant bit first, start 0, no final XOR.");
    m.def("crc64_portable", &of<gammanav::crc64_portable>, nb::arg("data"),
          nb::sig("def crc64_portable(data: bytes | bytearray | memoryview) -> int"),
          "The same by tables alone, as on processors without carry-less multiplication.");
}
