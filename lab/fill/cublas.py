"""cuBLASLt int8 (torch._int_mm) on random bytes: Tops, W, Tops/W over the second half of SECONDS."""
import sys, time, torch, pynvml
n, seconds = int(sys.argv[1]), float(sys.argv[2])
pynvml.nvmlInit(); h = pynvml.nvmlDeviceGetHandleByIndex(0)
a = torch.randint(-128, 128, (n, n), dtype=torch.int8, device="cuda"); b = torch.randint(-128, 128, (n, n), dtype=torch.int8, device="cuda").t()
torch._int_mm(a, b); torch.cuda.synchronize()
marks = []; start = time.time()
while time.time() - start < seconds:
    for _ in range(10): torch._int_mm(a, b)
    torch.cuda.synchronize(); marks.append((time.time(), pynvml.nvmlDeviceGetTotalEnergyConsumption(h), pynvml.nvmlDeviceGetClockInfo(h, 1)))
m = marks[len(marks)//2:]; dt = m[-1][0] - m[0][0]; w = (m[-1][1] - m[0][1]) / 1e3 / dt; tops = 2 * n**3 * 10 * (len(m) - 1) / dt / 1e12
print(f"cublaslt int8 n {n}: first {2*n**3*10/(marks[0][0]-start)/1e12:.0f} steady {tops:.1f} Tops {w:.1f} W {tops/w:.3f} Tops/W {sum(x[2] for x in m)/len(m):.0f} MHz")
