/* The part of NVIDIA's driver that client/cuda.py calls, with the cards of CARDS ({major, minor}, ...); FAULT: result of cuInit. */
#include <stdio.h>

static const int cards[][2] = {CARDS};

int cuInit(unsigned flags) { return FAULT; }

int cuDeviceGetCount(int *count) {
    *count = sizeof cards / sizeof *cards;
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = 70 + index; /* a handle need not be an index */
    return 0;
}

int cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "Card %c", 'A' + device - 70);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (attribute != 75 && attribute != 76) return 1;
    *value = cards[device - 70][attribute - 75];
    return 0;
}

int cuGetErrorString(int code, const char **text) {
    *text = code == 803 ? "unsupported display driver" : 0;
    return *text ? 0 : 1;
}

/* What MXNet's CUDA build imports beside these; not called. */
#define UNUSED(name) int name(void) { return 1; }
UNUSED(cuDevicePrimaryCtxRetain)
UNUSED(cuGraphKernelNodeGetParams)
UNUSED(cuGraphNodeGetType)
UNUSED(cuLaunchKernel)
UNUSED(cuModuleGetFunction)
UNUSED(cuModuleLoadData)
UNUSED(cuModuleLoadDataEx)
UNUSED(cuModuleUnload)
