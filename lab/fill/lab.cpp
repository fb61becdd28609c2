// Checks and times builds of the fill kernel. Reads commands from standard input:
//   load NAME CUBIN CLUSTER_CTAS
//   vectors NAME FILE                          fill digests of spec/vectors/v1.json (lines of vectors.py)
//   check NAME n k offset count batch_panels   every byte and digest against reference.cu
//   time NAME n k count batch_panels seconds   repeated fills; energy and clocks over the second half
//   once NAME n k count batch_panels repeats   median of single fills, a pause between
//   sleep SECONDS
#include <cuda.h>
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

static void* libcuda = dlopen("libcuda.so.1", RTLD_NOW);
template <class F> static F* sym(const char* name) {
    void* p = dlsym(libcuda, name);
    if (!p) { fprintf(stderr, "no %s\n", name); exit(1); }
    return reinterpret_cast<F*>(p);
}
#define CU(name, ...) do { static auto f = sym<decltype(name)>(STR(name)); CUresult cu_ = f(__VA_ARGS__); \
    if (cu_ != CUDA_SUCCESS) { printf("%s failed: %d (line %d)\n", STR(name), cu_, __LINE__); fflush(stdout); exit(1); } } while (0)
#define STR2(x) #x
#define STR(x) STR2(x)

struct Nvml {
    void* lib = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    void* dev = nullptr;
    int (*energy_f)(void*, unsigned long long*) = nullptr;
    int (*clock_f)(void*, int, unsigned*) = nullptr;
    int (*temp_f)(void*, int, unsigned*) = nullptr;
    Nvml() {
        if (!lib) return;
        reinterpret_cast<int (*)()>(dlsym(lib, "nvmlInit_v2"))();
        reinterpret_cast<int (*)(unsigned, void**)>(dlsym(lib, "nvmlDeviceGetHandleByIndex_v2"))(0, &dev);
        energy_f = reinterpret_cast<decltype(energy_f)>(dlsym(lib, "nvmlDeviceGetTotalEnergyConsumption"));
        clock_f = reinterpret_cast<decltype(clock_f)>(dlsym(lib, "nvmlDeviceGetClockInfo"));
        temp_f = reinterpret_cast<decltype(temp_f)>(dlsym(lib, "nvmlDeviceGetTemperature"));
    }
    double joules() { unsigned long long mj = 0; if (dev) energy_f(dev, &mj); return mj * 1e-3; }
    unsigned mhz() { unsigned v = 0; if (dev) clock_f(dev, 1, &v); return v; }
    unsigned celsius() { unsigned v = 0; if (dev) temp_f(dev, 0, &v); return v; }
};

static double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Key { uint32_t words[8]; };
static Key from_hex(const std::string& hex) {
    Key key;
    uint8_t* bytes = reinterpret_cast<uint8_t*>(&key);
    for (int i = 0; i < 32; ++i) bytes[i] = strtoul(hex.substr(2 * i, 2).c_str(), nullptr, 16);
    return key;
}

struct Variant { CUfunction fill, operands; unsigned ctas, clusters, shared; };
static std::map<std::string, Variant> variants;
static CUfunction ref_keystream, ref_compare, ref_digest;
static CUstream stream;
static CUdeviceptr dataset, digests, keys, progress, abandon, report, ref_a;
static size_t dataset_bytes;
static CUdeviceptr arena;
static const size_t arena_bytes = size_t(1) << 30;  // B, two batches of A

static void encode(CUtensorMap* map, CUdeviceptr base, std::vector<cuuint64_t> dims, std::vector<cuuint64_t> strides, std::vector<cuuint32_t> box) {
    std::vector<cuuint32_t> ones(dims.size(), 1);
    CU(cuTensorMapEncodeTiled, map, CU_TENSOR_MAP_DATA_TYPE_UINT8, dims.size(), reinterpret_cast<void*>(base), dims.data(), strides.data(), box.data(),
       ones.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

struct Fill {
    Variant v; uint32_t n, k, columns, panels, batch_panels, batches; uint64_t offset; CUdeviceptr a, b; CUtensorMap a_map, b_map; Key key;
    size_t num_tiles;
    Fill(const Variant& v, uint32_t n, uint32_t k, uint64_t offset, uint32_t count, uint32_t bp, Key key)
        : v(v), n(n), k(k), columns(n / 256), panels(count * (n / 256)), batch_panels(bp), batches((panels + bp - 1) / bp), offset(offset), key(key) {
        b = arena; a = arena + size_t(n) * k;
        num_tiles = size_t(panels) * columns;
        if (size_t(n) * k + size_t(2) * bp * 256 * k > arena_bytes || num_tiles * 65536 > dataset_bytes) { printf("does not fit: n %u k %u count %u (%zu of %zu)\n", n, k, count, num_tiles * 65536, dataset_bytes); exit(1); }
        cuuint64_t K = k;
        encode(&a_map, a, {K, cuuint64_t(2) * bp * 256}, {K}, {128, 128});
        encode(&b_map, b, {K, 2, 4, 8, n / 64}, {K, 16 * K, 2 * K, 64 * K}, {128, 2, 4, 8, 4 / v.ctas});
    }
    void launch() {
        CU(cuMemsetD8Async, digests, 0, num_tiles * 8, stream);
        CU(cuMemsetD8Async, progress, 0, size_t(batches) * 8, stream);
        void* op[] = {&a, &b, &key, &offset, &panels, &batch_panels, &columns, &k};
        CU(cuLaunchKernel, v.operands, 132 * 8, 1, 1, 256, 1, 1, 0, stream, op, nullptr);
        void* args[] = {&a_map, &b_map, &a, &dataset, &digests, &keys, &progress, &key, &offset, &panels, &batch_panels, &columns, &k, &abandon};
        CUlaunchAttribute attribute{};
        attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        attribute.value.clusterDim = {v.ctas, 1, 1};
        CUlaunchConfig config{};
        size_t units = num_tiles * 2 / v.ctas + 1;
        config.gridDimX = v.ctas * std::min<size_t>(v.clusters, units);
        config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
        config.blockDimX = 384;
        config.sharedMemBytes = v.shared;
        config.hStream = stream;
        config.attrs = &attribute;
        config.numAttrs = 1;
        CU(cuLaunchKernelEx, &config, v.fill, args, nullptr);
    }
    double tops() const { return 2.0 * n * n * k * (panels / columns) * 1e-12; }
};

static std::mt19937_64 rng(std::random_device{}());
static Key random_key() { Key k; for (auto& w : k.words) w = rng(); return k; }

static void quarter(uint32_t* s, int a, int b, int c, int d) {
    auto rot = [](uint32_t x, int n) { return x << n | x >> (32 - n); };
    s[a] += s[b]; s[d] = rot(s[d] ^ s[a], 16); s[c] += s[d]; s[b] = rot(s[b] ^ s[c], 12);
    s[a] += s[b]; s[d] = rot(s[d] ^ s[a], 8); s[c] += s[d]; s[b] = rot(s[b] ^ s[c], 7);
}
static void upload_keys(const Key& salt) {
    std::vector<uint32_t> out(32768);
    for (uint32_t block = 0; block < 2048; ++block) {
        uint32_t s[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, t[16];
        memcpy(s + 4, salt.words, 32); s[12] = block; s[13] = s[14] = s[15] = 0;
        memcpy(t, s, 64);
        for (int r = 0; r < 4; ++r) { quarter(t,0,4,8,12); quarter(t,1,5,9,13); quarter(t,2,6,10,14); quarter(t,3,7,11,15);
                                      quarter(t,0,5,10,15); quarter(t,1,6,11,12); quarter(t,2,7,8,13); quarter(t,3,4,9,14); }
        for (int i = 0; i < 16; ++i) out[block * 16 + i] = t[i] + s[i];
    }
    CU(cuMemcpyHtoD, keys, out.data(), 131072);
}
static void finish() { CU(cuStreamSynchronize, stream); }

int main() {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    CU(cuInit, 0);
    CUdevice device; CU(cuDeviceGet, &device, 0);
    CUcontext context; CU(cuDevicePrimaryCtxRetain, &context, device); CU(cuCtxSetCurrent, context);
    CU(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
    CUmodule ref; CU(cuModuleLoad, &ref, "out/reference.cubin");
    CU(cuModuleGetFunction, &ref_keystream, ref, "ref_keystream"); CU(cuModuleGetFunction, &ref_compare, ref, "ref_compare"); CU(cuModuleGetFunction, &ref_digest, ref, "ref_digest");
    size_t free_bytes, total; CU(cuMemGetInfo, &free_bytes, &total);
    CU(cuMemAlloc, &arena, arena_bytes); CU(cuMemAlloc, &ref_a, size_t(512) << 20); CU(cuMemAlloc, &digests, size_t(64) << 20);
    CU(cuMemAlloc, &keys, 131072); CU(cuMemAlloc, &progress, 16 << 20); CU(cuMemAlloc, &report, 4096);
    CU(cuMemAlloc, &abandon, 4); CU(cuMemsetD32, abandon, 0, 1);
    const char* cap = getenv("DATASET_MB");
    CU(cuMemGetInfo, &free_bytes, &total);
    dataset_bytes = cap ? size_t(atol(cap)) << 20 : free_bytes - (size_t(600) << 20);
    CU(cuMemAlloc, &dataset, dataset_bytes);
    printf("memory %zu MiB, dataset %zu MiB\n", total >> 20, dataset_bytes >> 20);
    Nvml nvml;
    std::string line;
    int failures = 0;
    while (std::getline(std::cin, line)) {
        std::istringstream in(line); std::string command, name; in >> command >> name;
        if (command == "sleep") { usleep(atof(name.c_str()) * 1e6); continue; }
        if (command == "load") {
            Variant v; std::string path; in >> path >> v.ctas;
            v.shared = 4 * 49152 + 64;
            if (unsigned s; in >> s) v.shared = s;
            CUmodule m; CU(cuModuleLoad, &m, path.c_str());
            CU(cuModuleGetFunction, &v.fill, m, "fill_sm90a"); CU(cuModuleGetFunction, &v.operands, m, "fill_sm90a_operands");
            CU(cuFuncSetAttribute, v.fill, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, v.shared);
            CU(cuFuncSetAttribute, v.fill, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1);
            CUlaunchAttribute attribute{}; attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION; attribute.value.clusterDim = {v.ctas, 1, 1};
            CUlaunchConfig config{}; config.gridDimX = v.ctas; config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1; config.blockDimX = 384;
            config.sharedMemBytes = v.shared; config.attrs = &attribute; config.numAttrs = 1;
            int clusters; CU(cuOccupancyMaxActiveClusters, &clusters, v.fill, &config); v.clusters = clusters;
            printf("%s: %u clusters of %u\n", name.c_str(), v.clusters, v.ctas);
            variants[name] = v; continue;
        }
        if (!variants.count(name)) { if (!line.empty()) printf("? %s\n", line.c_str()); continue; }
        Variant v = variants[name];
        if (command == "vectors") {
            std::string path; in >> path; std::ifstream f(path); std::string l; int good = 0, bad = 0;
            while (std::getline(f, l)) {
                std::istringstream s(l); uint32_t n, k, offset, count, m; std::string key, salt; s >> n >> k >> offset >> count >> key >> salt >> m;
                upload_keys(from_hex(salt));
                for (uint32_t bp : {1u, 3u, 64u}) {
                    if (bp * 512ull * k > (arena_bytes >> 1)) continue;
                    Fill fill(v, n, k, offset, count, bp, from_hex(key)); fill.launch(); finish();
                    std::vector<uint64_t> got(m); CU(cuMemcpyDtoH, got.data(), digests, m * 8);
                    std::istringstream s2(l); std::string skip; for (int i = 0; i < 7; ++i) s2 >> skip;
                    bool ok = true; for (auto g : got) { uint64_t want; s2 >> want; if (g != want) ok = false; }
                    (ok ? good : bad)++; if (!ok) printf("FAIL %s n %u k %u offset %u bp %u\n", name.c_str(), n, k, offset, bp);
                }
            }
            printf("%s vectors: %d good, %d bad\n", name.c_str(), good, bad); failures += bad;
        } else if (command == "check") {
            uint32_t n, k, count, bp; uint64_t offset; in >> n >> k >> offset >> count >> bp;
            Key key = random_key(); upload_keys(random_key());
            Fill fill(v, n, k, offset, count, bp, key);
            uint32_t zero[6] = {}; CU(cuMemcpyHtoD, report, zero, 24);
            CU(cuMemsetD8Async, dataset, 0xA5, fill.num_tiles * 65536, stream); fill.launch(); finish();
            uint32_t blocks = uint64_t(n) * k / 64; uint32_t A = 'A', B = 'B'; uint64_t zero64 = 0;
            CUdeviceptr ref_b = ref_a + size_t(n) * k;
            void* bargs[] = {&ref_b, &key, &B, &zero64, &blocks}; CU(cuLaunchKernel, ref_keystream, 512, 1, 1, 256, 1, 1, 0, stream, bargs, nullptr);
            for (uint32_t i = 0; i < count; ++i) {
                uint64_t index = offset + i; void* aargs[] = {&ref_a, &key, &A, &index, &blocks}; CU(cuLaunchKernel, ref_keystream, 512, 1, 1, 256, 1, 1, 0, stream, aargs, nullptr);
                CUdeviceptr tiles = dataset + size_t(i) * n * n; void* cargs[] = {&ref_a, &ref_b, &tiles, &n, &k, &report};
                CU(cuLaunchKernel, ref_compare, n / 16, n / 16, 1, 16, 16, 1, 0, stream, cargs, nullptr);
            }
            void* dargs[] = {&dataset, &keys, &digests, &report}; CU(cuLaunchKernel, ref_digest, fill.num_tiles, 1, 1, 256, 1, 1, 0, stream, dargs, nullptr);
            finish(); uint32_t r[6]; CU(cuMemcpyDtoH, r, report, 24);
            printf("%s check n %u k %u offset %llu count %u bp %u: %s", name.c_str(), n, k, (unsigned long long)offset, count, bp, r[0] || r[5] ? "FAIL" : "ok");
            if (r[0] || r[5]) { printf(" bytes %u (r %u c %u want %u got %u) digests %u", r[0], r[1], r[2], r[3], r[4], r[5]); ++failures; }
            printf("\n");
        } else if (command == "time" || command == "once") {
            uint32_t n, k, count, bp; double seconds; in >> n >> k >> count >> bp >> seconds;
            Fill fill(v, n, k, 5, count, bp, random_key()); upload_keys(random_key());
            if (command == "once") {
                std::vector<float> times;
                for (int i = 0; i < int(seconds) + 2; ++i) {
                    CUevent e0, e1; CU(cuEventCreate, &e0, 0); CU(cuEventCreate, &e1, 0);
                    CU(cuEventRecord, e0, stream); fill.launch(); CU(cuEventRecord, e1, stream); finish();
                    float ms; CU(cuEventElapsedTime, &ms, e0, e1); if (i >= 2) times.push_back(ms);
                    usleep(20000);
                }
                std::sort(times.begin(), times.end()); float ms = times[times.size() / 2];
                printf("%-14s once n %5u k %5u count %4u bp %4u: %9.3f ms (%.3f..%.3f) %7.1f Tops\n", name.c_str(), n, k, count, bp, ms, times.front(), times.back(), fill.tops() / ms * 1e3);
                continue;
            }
            std::vector<CUevent> events; std::vector<double> at, joules; double start = now(); struct Sample { double at; unsigned mhz; double joules; }; std::vector<Sample> clocks;
            std::atomic<bool> stop{false};
            std::thread sampler([&] { while (!stop) { clocks.push_back({now(), nvml.mhz(), nvml.joules()}); usleep(15000); } });
            auto mark = [&] { CUevent e; CU(cuEventCreate, &e, 0); CU(cuEventRecord, e, stream); events.push_back(e); };
            mark();
            // Two launches in flight: the device never waits for the host.
            do { fill.launch(); mark(); if (events.size() > 2) CU(cuEventSynchronize, events[events.size() - 2]); at.push_back(now()); joules.push_back(nvml.joules()); } while (now() - start < seconds);
            finish(); double end_j = nvml.joules(), end_t = now(); stop = true; sampler.join();
            size_t launches = events.size() - 1; std::vector<float> ms(launches);
            for (size_t i = 0; i < launches; ++i) CU(cuEventElapsedTime, &ms[i], events[i], events[i + 1]);
            size_t half = launches / 2; double total_ms = 0, half_ms = 0; for (size_t i = 0; i < launches; ++i) { total_ms += ms[i]; if (i >= half) half_ms += ms[i]; }
            // The host passed at[half] when launch half-1 had ended (one behind), within a launch's length.
            double t0 = at[half], j0 = joules[half]; if (launches < 4) { t0 = at[0]; j0 = joules[0]; }
            double mhz = 0, nm = 0, wt = end_t - t0, wj = end_j - j0; const Sample* before = nullptr; const Sample *lo = nullptr, *hi = nullptr;
            // The energy counter moves in steps: from one step to another.
            for (auto& c : clocks) { if (c.at > t0 && c.at < end_t) { mhz += c.mhz; ++nm; if (before && c.joules != before->joules) { if (!lo) lo = &c; hi = &c; } } before = &c; }
            if (lo && hi != lo) { wt = hi->at - lo->at; wj = hi->joules - lo->joules; }
            double watts = wj / wt;
            mhz /= std::max(nm, 1.0);
            double tops = fill.tops(), steady = tops * (launches - half) / half_ms * 1e3;
            printf("%-14s n %5u k %5u count %4u bp %4u: first %6.1f whole(%.2fs) %6.1f steady %6.1f Tops  %5.1f W  %5.3f Tops/W  %4.0f MHz  util %.3f  %u C\n", name.c_str(), n, k, count, bp,
                   tops / ms[0] * 1e3, total_ms * 1e-3, tops * launches / total_ms * 1e3, steady, watts, steady / watts, mhz, steady * 1e6 / (mhz * 4096 * 132 * 2), nvml.celsius());
        }
    }
    printf("failures: %d\n", failures);
    return failures != 0;
}
