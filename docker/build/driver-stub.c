/* A libcuda.so.1 that has no device: what CUDA's runtime and ONNX Runtime ask of a driver before they know that. For check-cuda.mjs. */
#include <string.h>

enum { SUCCESS = 0, NO_DEVICE = 100, CUDA_VERSION = 13090 };

int cuInit(unsigned flags) { return NO_DEVICE; }
int cuTensorMapEncodeTiled(void) { return NO_DEVICE; }
static int any(void) { return NO_DEVICE; }

int cuDriverGetVersion(int *version) {
  *version = CUDA_VERSION;
  return SUCCESS;
}

int cuGetProcAddress_v2(const char *symbol, void **function, int version, unsigned long long flags, int *status) {
  if (status) *status = 0;
  if (!strcmp(symbol, "cuDriverGetVersion"))
    *function = (void *)cuDriverGetVersion;
  else if (!strcmp(symbol, "cuInit"))
    *function = (void *)cuInit;
  else if (!strncmp(symbol, "cuGetProcAddress", 16))
    *function = (void *)cuGetProcAddress_v2;
  else
    *function = (void *)any;
  return SUCCESS;
}

int cuGetProcAddress(const char *symbol, void **function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(symbol, function, version, flags, 0);
}
