package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// SchedConfig is what Scheduling looks at.
type SchedConfig struct {
	PID        int // the daemon's; 0: none runs
	Self       int // the process that asks: where it is limited, a daemon started beside it is
	GOMAXPROCS int // the daemon's; 0: not known
	CPUs       int // that the daemon, or this process, may use
	Timing     Timing
}

// Scheduling judges how soon the daemon gets a processor when it wants one.
func Scheduling(root fs.FS, c SchedConfig) []Finding {
	out := []Finding{policy(root, c), threads(c)}
	pid := c.PID
	if pid == 0 {
		pid = c.Self
	}
	p, err := readProcess(root, pid)
	if err != nil {
		out = append(out, skip("cpu quota", err.Error()))
	} else {
		out = append(out, quota(root, p, c.Timing))
		out = append(out, rtGroup(root, p)...)
	}
	return append(out, rtThrottle(root, c.Timing), pressure(root, c.Timing))
}

func policy(root fs.FS, c SchedConfig) Finding {
	const check = "scheduling"
	if c.PID == 0 {
		return skip(check, "no daemon runs")
	}
	p, err := readProcess(root, c.PID)
	if err != nil {
		return skip(check, err.Error())
	}
	f := Finding{Check: check, Verdict: OK, Found: "the daemon: " + p.policyWords()}
	if p.realTime() > 0 {
		return f
	}
	f.Found += fmt.Sprintf("; real-time limit %s", or(p.limits["Max realtime priority"].soft, "unknown"))
	f.Do = "set CPUSchedulingPolicy=rr and CPUSchedulingPriority=10 in its unit, or start it by `chrt -r 10`"
	if c.Timing.Short() {
		f.Verdict = Warn
		f.Found += fmt.Sprintf("; a lease of %s wants real-time: beside busy processes heartbeats were 39 ms apart without, 13 ms with it", brief(c.Timing.Lease))
		return f
	}
	f.Verdict, f.Do = Note, ""
	return f
}

// threads wants more threads than processors: with as many, a busy process of Go
// keeps its own heartbeats waiting.
func threads(c SchedConfig) Finding {
	f := Finding{Check: "processors", Verdict: OK, Found: strconv.Itoa(c.CPUs)}
	if c.GOMAXPROCS > 0 {
		f.Found += fmt.Sprintf(", GOMAXPROCS of the daemon %d", c.GOMAXPROCS)
	}
	switch {
	case c.GOMAXPROCS > 0 && c.GOMAXPROCS < 2*c.CPUs:
		f.Verdict, f.Do = Warn, "leave GOMAXPROCS unset: flip then takes 4 for each processor, which halves the gaps between heartbeats when it is busy itself"
	case c.CPUs == 1 && c.Timing.Short():
		f.Verdict = Note
		f.Found += "; with a single one whatever else runs delays heartbeats, unless the daemon has real-time priority"
	}
	return f
}

// group is the directory of a process's cgroup that has a controller's files; v2
// says which of the two versions it is.
func (p *process) group(root fs.FS, controller string) (dir string, v2 bool) {
	for _, c := range p.cgroups {
		if slices.Contains(c.controllers, controller) {
			for _, mount := range []string{strings.Join(c.controllers, ","), controller} {
				if _, err := fs.Stat(root, "sys/fs/cgroup/"+mount); err == nil {
					return path.Join("sys/fs/cgroup", mount, c.path), false
				}
			}
		}
	}
	for _, c := range p.cgroups {
		if c.controllers == nil {
			return path.Join("sys/fs/cgroup", c.path), true
		}
	}
	return "", false
}

// quota looks for a limit of processor time in the daemon's cgroup and all above
// it: one that has used up its share stands still until the next period, which
// no priority helps.
func quota(root fs.FS, p process, t Timing) Finding {
	const check = "cpu quota"
	dir, v2 := p.group(root, "cpu")
	if dir == "" {
		return skip(check, "no cgroup with the cpu controller")
	}
	who := "the daemon's cgroup"
	for ; strings.HasPrefix(dir, "sys/fs/cgroup"); dir = path.Dir(dir) {
		share, period, ok := readQuota(root, dir, v2)
		if !ok {
			continue
		}
		f := Finding{Check: check, On: "/" + dir, Verdict: Warn}
		f.Found = fmt.Sprintf("%.3g processors: once used up, all in it stand still for up to %s", float64(share)/float64(period), brief(period))
		if n := throttled(root, dir); n > 0 {
			f.Found += fmt.Sprintf("; it has happened %d times", n)
			if period > t.Lease/3 {
				f.Verdict = Bad
			}
		}
		f.Do = "take CPUQuota off the daemon (systemctl edit flip), or the limit off its container"
		return f
	}
	return Finding{Check: check, Verdict: OK, Found: "none on " + who + " and what is above it"}
}

// rtGroup looks for a cgroup that gives real-time threads no time at all: there
// SCHED_RR is refused.
func rtGroup(root fs.FS, p process) []Finding {
	dir, v2 := p.group(root, "cpu")
	if v2 || dir == "" {
		return nil
	}
	us, err := readNumber(root, dir+"/cpu.rt_runtime_us")
	if err != nil || us != 0 {
		return nil
	}
	return []Finding{{
		Check: "real-time group", On: "/" + dir, Verdict: Warn, Found: "cpu.rt_runtime_us is 0: nothing in it may have real-time scheduling",
		Do: "give it some (echo 950000 >cpu.rt_runtime_us, here and above), or boot with a kernel without CONFIG_RT_GROUP_SCHED",
	}}
}

// rtThrottle judges how much of each second real-time threads may have.
func rtThrottle(root fs.FS, t Timing) Finding {
	const check = "real-time throttling"
	runtime, err := readNumber(root, "proc/sys/kernel/sched_rt_runtime_us")
	if err != nil {
		return skip(check, err.Error())
	}
	period, err := readNumber(root, "proc/sys/kernel/sched_rt_period_us")
	if err != nil || period <= 0 {
		period = 1_000_000
	}
	f := Finding{Check: check, Verdict: OK, Found: fmt.Sprintf("real-time threads may run for %d of %d us", runtime, period)}
	switch {
	case runtime < 0:
		f.Found = "off: real-time threads are never held back"
	case runtime == 0:
		f.Verdict, f.Do = Warn, "sysctl kernel.sched_rt_runtime_us=950000: with 0 no thread can have real-time scheduling"
	case runtime < period/2:
		f.Verdict, f.Do = Warn, "sysctl kernel.sched_rt_runtime_us=950000: what others use up of so little holds the daemon back, too"
	case (period-runtime)/1000 > t.Lease.Milliseconds()/3:
		f.Verdict = Note
		f.Found += "; should others use that up, the daemon stands still for longer than a third of its lease"
	}
	return f
}

// Above these shares of the last minute some task waited for the thing, a
// machine's pressure shows in its latencies: a rule of thumb.
const (
	cpuPressure = 40.0 // the daemon has real-time priority
	anyPressure = 10.0
)

func pressure(root fs.FS, t Timing) Finding {
	const check = "pressure"
	var words, high []string
	for _, what := range []string{"cpu", "memory", "io"} {
		avg, err := readPressure(root, what)
		if err != nil {
			return skip(check, "this kernel does not tell: "+err.Error())
		}
		words = append(words, fmt.Sprintf("%s %.1f %%", what, avg))
		if most := map[bool]float64{true: cpuPressure, false: anyPressure}[what == "cpu"]; avg > most {
			high = append(high, what)
		}
	}
	f := Finding{Check: check, Verdict: OK, Found: "in the last minute somebody waited for: " + strings.Join(words, ", ")}
	if len(high) > 0 {
		f.Verdict = Note
		if t.Short() {
			f.Verdict = Warn
			f.Do = "this machine is short of " + strings.Join(high, " and ") + ": a lease of " + brief(t.Lease) + " bears little of it; see /proc/pressure and top"
		}
	}
	return f
}
