package doctor

import (
	"context"
	"os"
	"runtime"
	"slices"
	"testing"
)

// Whatever machine this runs on, each check comes to a verdict.
func TestThisMachine(t *testing.T) {
	ctx, root, me := context.Background(), os.DirFS("/"), os.Getpid()
	var uses []Use
	for _, name := range []string{"lo", "eth0"} {
		uses = append(uses, Use{Name: name, V4: true, V6: true})
	}
	rules, err := ReadRuleset("flip-n1")
	dir := t.TempDir()
	all := slices.Concat(
		[]Finding{DataFS(root, dir), SocketDir(root, dir), DiskSync(ctx, dir, lan), WakeUps(ctx, 10, lan), OOM(root, me), KeyFile("/etc/passwd")},
		Scheduling(root, SchedConfig{PID: me, Self: me, GOMAXPROCS: runtime.GOMAXPROCS(0), CPUs: runtime.NumCPU(), Timing: lan}),
		Rights(root, RightsConfig{Self: me, Addresses: true, Timing: lan}),
		Guard(root, GuardConfig{Known: true, PID: me}),
		Gate(GateConfig{Wanted: true, Timing: lan}), Others(rules, err, true, lan),
		Links(uses, true), Sysctls(root, uses[0]), Nonlocal(root, true, true),
		[]Finding{Directory("data_dir mode", dir, true)},
	)
	whole(t, all...)
	for _, f := range all {
		t.Logf("%-4s %s %s: %s", f.Verdict, f.Check, f.On, f.Found)
	}
	if p, err := readProcess(root, me); err != nil || p.pid != me || p.uid != os.Geteuid() || len(p.limits) < 10 || len(p.cgroups) == 0 || p.cpus == "" {
		t.Errorf("this process: %+v, %v", p, err)
	}
	if n := tcx(1 << 30); n != 0 {
		t.Errorf("%d programs on no interface", n)
	}
	if m, err := mountOf(root, "/proc"); err != nil || m.Type != "proc" {
		t.Errorf("/proc is %+v, %v", m, err)
	}
}
