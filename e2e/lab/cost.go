package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flip-ha/flip/e2e/mono"
)

// Cost is what a daemon takes of its host.
type Cost struct {
	CPU      float64 // percent of one core
	Syscalls float64 // a second; negative: they cannot be counted here
}

// ticksPerSecond is the unit of /proc/PID/stat on every Linux.
const ticksPerSecond = 100

// Cost measures the host's daemon until done is closed.
func (h *Host) Cost(done <-chan time.Time) (Cost, error) {
	pid := h.daemon.Cmd.Process.Pid
	counters, countErr := countSyscalls(pid)
	defer func() {
		for _, fd := range counters {
			_ = unix.Close(fd)
		}
	}()
	before, err := cpuTicks(pid)
	if err != nil {
		return Cost{}, err
	}
	began := mono.Now()
	<-done
	seconds := mono.Now().Sub(began).Seconds()
	after, err := cpuTicks(pid)
	if err != nil {
		return Cost{}, err
	}
	c := Cost{CPU: float64(after-before) / ticksPerSecond / seconds * 100, Syscalls: -1}
	if countErr == nil {
		var sum uint64
		for _, fd := range counters {
			var b [8]byte
			if n, err := unix.Read(fd, b[:]); err == nil && n == len(b) {
				sum += binary.NativeEndian.Uint64(b[:])
			}
		}
		c.Syscalls = float64(sum) / seconds
	}
	return c, nil
}

func cpuTicks(pid int) (uint64, error) {
	user, err := statField(pid, statUser)
	system, err2 := statField(pid, statSystem)
	return user + system, errors.Join(err, err2)
}

// countSyscalls opens a counter of system calls on every thread of a process;
// those that it will start are counted too.
func countSyscalls(pid int) ([]int, error) {
	// tracefs is mounted where only this one command sees it.
	out, err := exec.Command("unshare", "-m", "sh", "-c",
		"mount -t tracefs none /sys/kernel/tracing && cat /sys/kernel/tracing/events/raw_syscalls/sys_enter/id").Output()
	if err != nil {
		return nil, fmt.Errorf("the tracepoint of system calls: %w", err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the tracepoint of system calls: %w", err)
	}
	attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_TRACEPOINT, Config: id, Bits: unix.PerfBitInherit}
	attr.Size = uint32(unix.PERF_ATTR_SIZE_VER5)
	var fds []int
	for _, tid := range threads(pid) {
		fd, err := unix.PerfEventOpen(attr, tid, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
		if err != nil {
			return fds, fmt.Errorf("count the system calls of %d: %w", tid, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// CPU is what a process has taken of the processor so far.
func CPU(pid int) (time.Duration, error) {
	ticks, err := cpuTicks(pid)
	return time.Duration(ticks) * time.Second / ticksPerSecond, err
}

// Memory is how many bytes of a process are in memory now.
func Memory(pid int) (uint64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("memory of process %d: %w", pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("memory of process %d: it has none", pid)
}

// Busy is how long the machine's processors have worked so far, for all processes
// together, or for other machines that it shares them with. What the kernel does
// between processes is left out, as CPU leaves it out.
func Busy() (time.Duration, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("what the processors did: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal ...
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("what the processors did: %q", line)
	}
	var ticks uint64
	for _, i := range []int{1, 2, 3, 8} {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("what the processors did: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
