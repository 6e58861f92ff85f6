package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRights(t *testing.T) {
	unprivileged := map[string]string{"proc/7/status": "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t" + noCaps + "\n"}
	one := func(files map[string]string, c RightsConfig) []Finding { return Rights(tree(files), c) }

	all := one(proc(7, 0, 0, allCaps, nil), RightsConfig{PID: 7, Addresses: true})
	whole(t, all...)
	if len(all) != 1 || all[0].Verdict != OK || !strings.Contains(all[0].Found, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_SYS_NICE, CAP_SYS_RESOURCE") {
		t.Errorf("root: %s", lines(all))
	}
	// With hooks only flip needs no network.
	for addresses, bad := range map[bool]int{true: 2, false: 0} {
		all := one(proc(7, 0, 0, noCaps, nil), RightsConfig{PID: 7, Addresses: addresses})
		whole(t, all...)
		if got := strings.Count(lines(all), "bad capabilities"); got != bad {
			t.Errorf("addresses %t:\n%s", addresses, lines(all))
		}
		if !strings.Contains(lines(all), "warn locked memory : the daemon may lock 8388608 bytes") || !strings.Contains(all[0].Do, "root has lost it") {
			t.Errorf("addresses %t:\n%s", addresses, lines(all))
		}
	}
	all = one(proc(7, 0, 0, "0000000001803000", nil), RightsConfig{PID: 7, Addresses: true}) // all but IPC_LOCK
	if len(all) != 2 || all[0].On != "CAP_IPC_LOCK" {
		t.Errorf("%s", lines(all))
	}
	all = one(proc(7, 0, 0, noCaps, unprivileged), RightsConfig{PID: 7, Addresses: true})
	if !strings.Contains(all[0].Do, "AmbientCapabilities=CAP_NET_ADMIN") {
		t.Errorf("%+v", all[0])
	}
	is(t, one(proc(7, 0, 0, noCaps, unprivileged), RightsConfig{Self: 7, Addresses: true})[0], Skip, "uid 1000")
	is(t, one(proc(7, 0, 0, allCaps, nil), RightsConfig{Self: 7})[0], OK, "a daemon started from here")
	is(t, one(nil, RightsConfig{PID: 7})[0], Skip, "read process 7")
}

func TestGuard(t *testing.T) {
	guarded := func(policy int, vmlck, oom string) map[string]string {
		return proc(8, policy, 10, allCaps, map[string]string{"proc/8/status": "VmLck:\t" + vmlck + " kB\nVmRSS:\t   40960 kB\n", "proc/8/oom_score_adj": oom})
	}
	for name, tt := range map[string]struct {
		files map[string]string
		c     GuardConfig
		want  Verdict
		words string
	}{
		"not told":  {nil, GuardConfig{}, Skip, "no daemon"},
		"none":      {nil, GuardConfig{Known: true, Why: "it cannot be started"}, Bad, "it cannot be started"},
		"well":      {guarded(schedRR, "40960", "-1000"), GuardConfig{Known: true, PID: 8, Priority: 10, Restarts: 2}, OK, "pid 8, SCHED_RR, priority 10, memory locked (40 MiB), OOM score -1000, started anew 2 times"},
		"ordinary":  {guarded(0, "40960", "-1000"), GuardConfig{Known: true, PID: 8, Priority: 10}, Warn, "no real-time priority"},
		"as daemon": {guarded(0, "40960", "-1000"), GuardConfig{Known: true, PID: 8}, OK, "ordinary"},
		"swapped":   {guarded(schedRR, "0", "0"), GuardConfig{Known: true, PID: 8, Priority: 10}, Warn, "memory not locked (40 MiB), OOM score 0: it can be swapped out; the out-of-memory killer"},
		"gone":      {nil, GuardConfig{Known: true, PID: 8}, Skip, "read process 8"},
	} {
		t.Run(name, func(t *testing.T) { is(t, Guard(tree(tt.files), tt.c)[0], tt.want, tt.words) })
	}
	list := filepath.Join(t.TempDir(), "n1.list")
	c := GuardConfig{Known: true, PID: 8, Priority: 10, List: list}
	is(t, Guard(tree(guarded(schedRR, "64", "-1000")), c)[1], Bad, "no such file")
	if err := os.WriteFile(list, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	is(t, Guard(tree(guarded(schedRR, "64", "-1000")), c)[1], OK, "can be written")
	if b, err := os.ReadFile(list); string(b) != "kept" || err != nil {
		t.Errorf("the list was changed: %q, %v", b, err)
	}
}

func TestOOM(t *testing.T) {
	for text, want := range map[string]Verdict{"-900\n": OK, "0\n": Note, "300\n": Warn} {
		is(t, OOM(tree(proc(7, 0, 0, allCaps, map[string]string{"proc/7/oom_score_adj": text})), 7), want, strings.TrimSpace(text))
	}
	is(t, OOM(tree(nil), 0), Skip, "no daemon")
	is(t, OOM(tree(nil), 7), Skip, "read process")
}

func TestKeyFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "key")
	is(t, KeyFile(name), Bad, "no such file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]Verdict{0o600: OK, 0o400: OK, 0o640: Warn, 0o604: Bad, 0o602: Bad} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		is(t, KeyFile(name), want, "mode "+mode.String())
	}
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	is(t, Directory("data_dir", dir, true), Note, "not there yet")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode][2]Verdict{
		0o700: {OK, OK}, 0o755: {Note, OK}, 0o775: {Bad, Bad}, 0o777: {Bad, Bad}, 0o777 | os.ModeSticky: {Note, OK},
	} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		is(t, Directory("data_dir", dir, true), want[0], "mode d")
		is(t, Directory("socket directory", dir, false), want[1], "mode d")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	is(t, Directory("data_dir", file, true), Bad, "no directory")
}
