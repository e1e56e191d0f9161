/* Replaces NVIDIA's driver library (libcuda.so.1) on a machine without a driver, so that MXNet's CUDA build can be
   imported and can train on the CPU. libmxnet.so of mxnet-cu112 1.9.1 imports these ten functions from it. Each
   returns CUDA_ERROR_NO_DEVICE.

   gcc -shared -nostdlib -Wl,-soname,libcuda.so.1 -o libcuda.so.1 cuda_stub.c */
#define STUB(name) int name(void) { return 100; }
STUB(cuDeviceGet)
STUB(cuDevicePrimaryCtxRetain)
STUB(cuGetErrorString)
STUB(cuGraphKernelNodeGetParams)
STUB(cuGraphNodeGetType)
STUB(cuLaunchKernel)
STUB(cuModuleGetFunction)
STUB(cuModuleLoadData)
STUB(cuModuleLoadDataEx)
STUB(cuModuleUnload)
