// Lets a C++ compiler take a CUDA source as it is: a kernel becomes a function that `run` calls for every thread of a grid.
#pragma once
#include <cstddef>
#include <utility>

#define __global__
#define __device__

struct Dim { unsigned x, y, z; };
static thread_local Dim blockIdx, blockDim, threadIdx;

template <class Work> void for_each_thread(Dim grid, Dim block, Work work) {
    blockDim = block;
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
                for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z)
                    for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
                        for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) work();
}

// Calls a kernel with the arguments to which the pointers of cuLaunchKernel point.
template <class... Types, size_t... Index>
void run(void (*kernel)(Types...), void **arguments, Dim grid, Dim block, std::index_sequence<Index...>) {
    for_each_thread(grid, block, [&] { kernel(*(Types *)arguments[Index]...); });
}
