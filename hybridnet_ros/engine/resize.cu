// Resizing between the camera's size and the network's, on the GPU: the rules of scene/resize.py, which stand in tables
// that gpu_resize.py fills in. resize.ptx beside this file is what runs; scripts/compile_kernels makes it.
//
// One thread a pixel: x and y of the grid are the pixel, z is the image of the batch. Sizes are in px.

typedef unsigned char uint8;

// Where pixel `x` of image `z`, `width` px wide and `height` high, lies in memory.
static __device__ size_t at(int z, int y, int x, int height, int width) {
    return ((size_t)z * height + y) * width + x;
}

// A camera's picture uint8 [N, height, width, 3] at the network's size: each pixel is a weighted mean of `x_taps` x `y_taps`
// pixels. Those of column x begin at x_first[x] and weigh x_weights[x * x_taps ...]; likewise rows. Weights add up to 1.
extern "C" __global__ void resize_images(
    const uint8 *from, int width, int height, uint8 *to, int to_width, int to_height,
    const int *x_first, const float *x_weights, int x_taps, const int *y_first, const float *y_weights, int y_taps
) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, z = blockIdx.z;
    if (x >= to_width || y >= to_height) return;
    float red = 0, green = 0, blue = 0;
    for (int j = 0; j < y_taps; ++j) {
        const uint8 *pixel = from + 3 * at(z, y_first[y] + j, x_first[x], height, width);
        for (int i = 0; i < x_taps; ++i, pixel += 3) {
            float weight = y_weights[y * y_taps + j] * x_weights[x * x_taps + i];
            red += weight * pixel[0];
            green += weight * pixel[1];
            blue += weight * pixel[2];
        }
    }
    uint8 *pixel = to + 3 * at(z, y, x, to_height, to_width);
    pixel[0] = (uint8)(red + 0.5f);
    pixel[1] = (uint8)(green + 0.5f);
    pixel[2] = (uint8)(blue + 0.5f);
}

// The network's answer [N, height, width] at the camera's size: depth is bilinear, in column x between x_pair[2 * x] and
// x_pair[2 * x + 1], which weigh x_weights[2 * x ...]; likewise rows; and times the factor scales[z]. Labels and confidence are
// those of the one pixel in column x_nearest[x] and row y_nearest[y].
extern "C" __global__ void resize_maps(
    const float *depth, const uint8 *labels, const uint8 *confidence, int width, int height,
    float *to_depth, uint8 *to_labels, uint8 *to_confidence, int to_width, int to_height, const float *scales,
    const int *x_pair, const float *x_weights, const int *x_nearest,
    const int *y_pair, const float *y_weights, const int *y_nearest
) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, z = blockIdx.z;
    if (x >= to_width || y >= to_height) return;
    float metres = 0;
    for (int j = 2 * y; j < 2 * y + 2; ++j) {
        const float *row = depth + at(z, y_pair[j], 0, height, width);
        metres += y_weights[j] * (x_weights[2 * x] * row[x_pair[2 * x]] + x_weights[2 * x + 1] * row[x_pair[2 * x + 1]]);
    }
    size_t target = at(z, y, x, to_height, to_width), source = at(z, y_nearest[y], x_nearest[x], height, width);
    to_depth[target] = metres * scales[z];
    to_labels[target] = labels[source];
    to_confidence[target] = confidence[source];
}
