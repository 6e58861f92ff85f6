package doctor

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/fstest"
)

// proc is the files of a process: policy and priority are fields 41 and 40 of stat.
func proc(pid, policy, priority int, caps string, more map[string]string) map[string]string {
	dir := fmt.Sprintf("proc/%d/", pid)
	fields := make([]string, 50)
	for i := range fields {
		fields[i] = "0"
	}
	fields[0], fields[19-3], fields[40-3], fields[41-3] = "S", "-5", fmt.Sprint(priority), fmt.Sprint(policy)
	files := map[string]string{
		dir + "stat":          fmt.Sprintf("%d (a) b (c) %s\n", pid, strings.Join(fields, " ")),
		dir + "status":        "Name:\tflip\nUid:\t0\t0\t0\t0\nVmLck:\t   64 kB\nCapEff:\t" + caps + "\nCpus_allowed_list:\t0-3\n",
		dir + "oom_score_adj": "-17\n",
		dir + "limits": "Limit                     Soft Limit           Hard Limit           Units     \n" +
			"Max locked memory         8388608              unlimited            bytes     \nMax realtime priority     99                   99                             \n",
		dir + "cgroup": "9:name=systemd:/system.slice/flip.service\n2:cpu,cpuacct:/system.slice/flip.service\n0::/system.slice/flip.service\n",
	}
	maps.Copy(files, more)
	return files
}

const (
	allCaps = "000001ffffffffff"
	noCaps  = "0000000000000000"
)

func TestReadProcess(t *testing.T) {
	root := tree(proc(7, schedRR, 10, allCaps, nil))
	p, err := readProcess(root, 7)
	if err != nil {
		t.Fatal(err)
	}
	if p.realTime() != 10 || p.nice != -5 || p.locked != 64<<10 || p.oom != -17 || p.uid != 0 || p.cpus != "0-3" ||
		p.limits["Max locked memory"] != (limit{"8388608", "unlimited"}) || len(p.cgroups) != 3 {
		t.Errorf("%+v", p)
	}
	if got := UnitOf(root, 7); got != "flip.service" {
		t.Errorf("unit %q", got)
	}
	if UnitOf(root, 8) != "" || RealTime(root, 8) != 0 || RealTime(root, 7) != 10 {
		t.Error("a process that is not there has a unit or a priority")
	}
}

func TestPolicy(t *testing.T) {
	for _, tt := range []struct {
		policy, priority int
		t                Timing
		want             Verdict
		words            string
	}{
		{schedRR, 10, fast, OK, "SCHED_RR, priority 10"},
		{1, 1, fast, OK, "SCHED_FIFO"},
		{0, 0, lan, Warn, "nice -5; real-time limit 99"},
		{0, 0, wan, Note, "ordinary"},
	} {
		root := tree(proc(7, tt.policy, tt.priority, allCaps, nil))
		is(t, policy(root, SchedConfig{PID: 7, Timing: tt.t}), tt.want, tt.words)
	}
	is(t, policy(tree(nil), SchedConfig{}), Skip, "no daemon")
	is(t, policy(tree(nil), SchedConfig{PID: 7}), Skip, "read process 7")
}

func TestThreads(t *testing.T) {
	is(t, threads(SchedConfig{CPUs: 2, GOMAXPROCS: 8, Timing: lan}), OK, "2, GOMAXPROCS of the daemon 8")
	is(t, threads(SchedConfig{CPUs: 2, GOMAXPROCS: 2, Timing: lan}), Warn, "unset")
	is(t, threads(SchedConfig{CPUs: 1, GOMAXPROCS: 4, Timing: lan}), Note, "single")
	is(t, threads(SchedConfig{CPUs: 1, Timing: wan}), OK, "1")
}

func TestQuota(t *testing.T) {
	v2only := map[string]string{"proc/7/cgroup": "0::/system.slice/flip.service\n"}
	for name, tt := range map[string]struct {
		files map[string]string
		want  Verdict
		words string
	}{
		"v2, none": {v2only, OK, "none"},
		"v2, max":  {with(v2only, "sys/fs/cgroup/system.slice/flip.service/cpu.max", "max 100000\n"), OK, "none"},
		"v2, own":  {with(v2only, "sys/fs/cgroup/system.slice/flip.service/cpu.max", "50000 100000\n"), Warn, "0.5 processors: once used up, all in it stand still for up to 100 ms"},
		"v2, above": {
			with(with(v2only, "sys/fs/cgroup/system.slice/cpu.max", "300000 200000\n"), "sys/fs/cgroup/system.slice/cpu.stat", "usage_usec 9\nnr_throttled 12\n"),
			Bad, "/sys/fs/cgroup/system.slice: 1.5 processors: once used up, all in it stand still for up to 200 ms; it has happened 12 times",
		},
		"v1": {
			map[string]string{"sys/fs/cgroup/cpu,cpuacct/system.slice/flip.service/cpu.cfs_quota_us": "20000", "sys/fs/cgroup/cpu,cpuacct/system.slice/flip.service/cpu.cfs_period_us": "10000"},
			Warn, "2 processors",
		},
		"v1, none": {map[string]string{"sys/fs/cgroup/cpu/system.slice/flip.service/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/system.slice/flip.service/cpu.cfs_period_us": "10000"}, OK, "none"},
		"no cpu":   {map[string]string{"proc/7/cgroup": "9:name=systemd:/\n"}, Skip, "no cgroup"},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(proc(7, 0, 0, allCaps, tt.files))
			p, err := readProcess(root, 7)
			if err != nil {
				t.Fatal(err)
			}
			is(t, quota(root, p, lan), tt.want, tt.words)
		})
	}
}

func with(files map[string]string, name, text string) map[string]string {
	out := maps.Clone(files)
	out[name] = text
	return out
}

func TestRealTimeGroup(t *testing.T) {
	name := "sys/fs/cgroup/cpu,cpuacct/system.slice/flip.service/cpu.rt_runtime_us"
	for text, want := range map[string]int{"0\n": 1, "950000\n": 0} {
		root := tree(proc(7, 0, 0, allCaps, map[string]string{name: text}))
		p, _ := readProcess(root, 7)
		if got := rtGroup(root, p); len(got) != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestRealTimeThrottling(t *testing.T) {
	for text, want := range map[string]struct {
		t     Timing
		v     Verdict
		words string
	}{
		"950000": {lan, OK, "950000 of 1000000"},
		"940000": {fast, Note, "a third of its lease"},
		"-1":     {lan, OK, "off"},
		"0":      {lan, Warn, "no thread"},
		"100000": {lan, Warn, "950000"},
		"x":      {lan, Skip, "no number"},
	} {
		root := tree(map[string]string{"proc/sys/kernel/sched_rt_runtime_us": text + "\n", "proc/sys/kernel/sched_rt_period_us": "1000000\n"})
		is(t, rtThrottle(root, want.t), want.v, want.words)
	}
	is(t, rtThrottle(tree(nil), lan), Skip, "read /proc/sys/kernel/sched_rt_runtime_us: file does not exist")
}

func TestPressure(t *testing.T) {
	waited := func(cpu, memory, io string) fstest.MapFS {
		text := "some avg10=99.00 avg60=%s avg300=9.0 total=1\nfull avg10=0.00 avg60=77.0 avg300=0.00 total=0\n"
		return tree(map[string]string{
			"proc/pressure/cpu": fmt.Sprintf(text, cpu), "proc/pressure/memory": fmt.Sprintf(text, memory), "proc/pressure/io": fmt.Sprintf(text, io),
		})
	}
	is(t, pressure(waited("30.1", "0.00", "9.9"), lan), OK, "cpu 30.1 %, memory 0.0 %, io 9.9 %")
	is(t, pressure(waited("40.1", "0.00", "10.1"), lan), Warn, "short of cpu and io")
	is(t, pressure(waited("40.1", "0.00", "10.1"), wan), Note, "40.1")
	is(t, pressure(tree(nil), lan), Skip, "does not tell")
}

func TestScheduling(t *testing.T) {
	root := tree(proc(7, schedRR, 10, allCaps, nil))
	all := Scheduling(root, SchedConfig{PID: 7, Self: 9, GOMAXPROCS: 8, CPUs: 2, Timing: lan})
	whole(t, all...)
	if len(all) != 5 {
		t.Errorf("%s", lines(all))
	}
}
