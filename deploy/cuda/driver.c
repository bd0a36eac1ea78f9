// A driver for the linker: what a plain `cargo build --features cuda` asks of libcuda. Each answers that it is a stub,
// as NVIDIA's own stub of the name does (CUDA_ERROR_STUB_LIBRARY), in case anybody runs with it.
#define STUB(name) int name(void) { return 34; }
STUB(cuInit)
