package doctor

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// The unit of the package must pass its own doctor.
func TestPackagedUnit(t *testing.T) {
	text, err := os.ReadFile("../../deploy/systemd/flip.service")
	if err != nil {
		t.Fatal(err)
	}
	root := tree(map[string]string{"lib/systemd/system/flip.service": string(text)})
	u, ok := UnitFiles(root, "flip.service")
	if !ok || u.Path != "/lib/systemd/system/flip.service" || !u.RealTime() {
		t.Fatalf("%+v, %t", u, ok)
	}
	all := u.Judge(UnitConfig{Timing: fast, StopTimeout: time.Minute})
	whole(t, all...)
	if len(all) != 1 || all[0].Verdict != OK {
		t.Errorf("%s", lines(all))
	}
}

func TestUnitFiles(t *testing.T) {
	root := tree(map[string]string{
		"etc/systemd/system/flip.service": "[Unit]\nKillMode=none\n[Service]\n# KillMode=mixed\nKillMode=process\nRestart = always\nOOMPolicy=continue\n" +
			"CPUSchedulingPolicy=rr\nTimeoutStopSec=2min 10s\nWatchdogSec=10\nExecStart=/bin/a \\\n  b\n[Install]\nKillMode=none\n",
		"lib/systemd/system/flip.service":                "[Service]\nKillMode=none\n",
		"lib/systemd/system/flip.service.d/10-x.conf":    "[Service]\nKillMode=mixed\n",
		"etc/systemd/system/flip.service.d/10-x.conf":    "[Service]\nOOMPolicy=stop\n",
		"run/systemd/system/flip.service.d/20-y.conf":    "[Service]\nOOMPolicy=kill\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_ADMIN\n",
		"run/systemd/system/flip.service.d/30-z.conf":    "[Service]\nCapabilityBoundingSet=CAP_SYS_NICE\n",
		"run/systemd/system/flip.service.d/40.conf.save": "[Service]\nKillMode=mixed\n",
	})
	u, ok := UnitFiles(root, "flip.service")
	if !ok {
		t.Fatal("not found")
	}
	all := u.Judge(UnitConfig{Timing: lan, StopTimeout: time.Minute})
	whole(t, all...)
	want := "ok unit /etc/systemd/system/flip.service: KillMode=process Restart=always WatchdogSec=10 TimeoutStopSec=2min 10s CPUSchedulingPolicy=rr\n" +
		"bad unit OOMPolicy : kill: when anything in the unit runs out of memory all of it is killed, the guard too\n" +
		"warn unit CapabilityBoundingSet : lacks CAP_IPC_LOCK CAP_SYS_RESOURCE, with which the guard is of use under load\n"
	if got := lines(all); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if _, ok := UnitFiles(fstest.MapFS{}, "flip.service"); ok {
		t.Error("found where there is none")
	}
}

const shown = `LoadState=loaded
FragmentPath=/lib/systemd/system/flip.service
NeedDaemonReload=no
KillMode=process
Restart=on-failure
WatchdogUSec=10s
TimeoutStopUSec=2min 10s
CPUSchedulingPolicy=2
OOMPolicy=continue
CapabilityBoundingSet=cap_kill cap_net_admin cap_net_raw cap_ipc_lock cap_sys_nice cap_sys_resource
`

func TestUnitShown(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     Verdict
		words    string
	}{
		{"KillMode=process", "KillMode=process", OK, "KillMode=process Restart=on-failure WatchdogSec=10s TimeoutStopSec=2min 10s CPUSchedulingPolicy=rr"},
		{"KillMode=process", "KillMode=control-group", Bad, "ends the guard with the daemon"},
		{"KillMode=process", "KillMode=mixed", Bad, "ends the guard with the daemon"},
		{"KillMode=process", "KillMode=none", Warn, "never ended"},
		{"Restart=on-failure", "Restart=no", Warn, "stays away"},
		{"WatchdogUSec=10s", "WatchdogUSec=0", Warn, "WatchdogSec=10"},
		{"WatchdogUSec=10s", "WatchdogUSec=infinity", Warn, "WatchdogSec=10"},
		{"WatchdogUSec=10s", "WatchdogUSec=500ms", Warn, "moment"},
		{"TimeoutStopUSec=2min 10s", "TimeoutStopUSec=1min 30s", Warn, "TimeoutStopSec=125"},
		{"TimeoutStopUSec=2min 10s", "TimeoutStopUSec=infinity", OK, "infinity"},
		{"CPUSchedulingPolicy=2", "CPUSchedulingPolicy=0", Warn, "other: a daemon that waits"},
		{"OOMPolicy=continue", "OOMPolicy=stop", Warn, "stops the whole node"},
		{" cap_ipc_lock", "", Warn, "lacks CAP_IPC_LOCK,"},
		{"cap_kill", "~cap_kill", OK, ""}, // never shown so, but written
		{"NeedDaemonReload=no", "NeedDaemonReload=yes", Warn, "daemon-reload"},
	} {
		u, ok := UnitShown(strings.Replace(shown, tt.from, tt.to, 1))
		if !ok {
			t.Fatalf("%s: not found", tt.to)
		}
		all := u.Judge(UnitConfig{Timing: lan, StopTimeout: time.Minute})
		if tt.to == "~cap_kill" { // then the named ones are those that are missing
			is(t, all[1], Warn, "lacks CAP_IPC_LOCK CAP_SYS_NICE CAP_SYS_RESOURCE")
			continue
		}
		is(t, all[len(all)-1], tt.want, tt.words)
		if wantLines := map[bool]int{true: 1, false: 2}[tt.want == OK]; len(all) != wantLines {
			t.Errorf("%s: %s", tt.to, lines(all))
		}
	}
	if _, ok := UnitShown("LoadState=not-found\nKillMode=control-group\n"); ok {
		t.Error("a unit that is not there was found")
	}
	u, _ := UnitShown(strings.Replace(shown, "CPUSchedulingPolicy=2", "CPUSchedulingPolicy=0", 1))
	is(t, u.Judge(UnitConfig{Timing: wan})[1], Note, "heartbeats are late")
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"130": 130 * time.Second, "2min 10s": 130 * time.Second, "1.5s": 1500 * time.Millisecond, "500ms": 500 * time.Millisecond,
		"1h": time.Hour, "infinity": time.Hour, "0": 0,
	} {
		if got, ok := Span(text); got != want || !ok {
			t.Errorf("%q: %v, %t", text, got, ok)
		}
	}
	for _, text := range []string{"", "soon", "5 parsecs", "s"} {
		if got, ok := Span(text); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
}
