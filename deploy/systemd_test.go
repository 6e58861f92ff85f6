package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/config"
)

// verify has systemd read the unit with the drop-ins given, and answers with
// what it complains of.
func verify(t *testing.T, edit func(string) string, dropIns ...string) string {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here: apt-get install systemd")
	}
	unit, err := os.ReadFile("systemd/flip.service")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// It must exist to be verified; what is verified is the unit, not the program.
	program := filepath.Join(dir, "flip")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := edit(strings.ReplaceAll(string(unit), "/usr/bin/flip", program))
	text = strings.ReplaceAll(text, "man:flip(8) ", "") // not installed here
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("flip.service", text)
	for _, name := range dropIns {
		data, err := os.ReadFile("systemd/flip.service.d/" + name)
		if err != nil {
			t.Fatal(err)
		}
		write("flip.service.d/"+name, string(data))
	}
	out, err := exec.CommandContext(t.Context(), tool, "verify", "--recursive-errors=no", path).CombinedOutput()
	if err != nil {
		t.Logf("systemd-analyze: %v", err)
	}
	return string(out)
}

func same(s string) string { return s }

func TestUnitIsValid(t *testing.T) {
	for _, dropIns := range [][]string{nil, {"no-hooks.conf"}} {
		if out := verify(t, same, dropIns...); out != "" {
			t.Errorf("drop-ins %v:\n%s", dropIns, out)
		}
	}
	bad := verify(t, func(s string) string { return strings.Replace(s, "KillMode=process", "KillMode=nobody", 1) })
	if !strings.Contains(bad, "kill mode") {
		t.Errorf("a wrong KillMode goes unnoticed: %s", bad)
	}
}

// settings reads a unit's file: key to values in their order.
func settings(t *testing.T, path string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			out[key] = append(out[key], value)
		}
	}
	return out
}

// What flip counts on: a change of one of these needs a second thought.
func TestUnitSettings(t *testing.T) {
	unit := settings(t, "systemd/flip.service")
	for key, want := range map[string]string{
		"Type":                "notify",
		"ExecStart":           "/usr/bin/flip run $FLIP_OPTIONS",
		"TimeoutStartSec":     "infinity",
		"KillMode":            "process",
		"OOMPolicy":           "continue",
		"CPUSchedulingPolicy": "rr",
		// exitSuperseded of cmd/flip, and never 2, with which a panic ends.
		"RestartPreventExitStatus": "5",
		"RuntimeDirectory":         "flip",
		"StateDirectory":           "flip",
	} {
		if got := strings.Join(unit[key], " "); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	// A mount namespace would hide from the host what a hook mounts; a policy
	// reset at each fork would take it from flip's own threads.
	for _, key := range []string{
		"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectKernelModules",
		"ProtectKernelTunables", "ProtectKernelLogs", "ProtectControlGroups", "ReadOnlyPaths", "InaccessiblePaths",
		"CPUSchedulingResetOnFork",
	} {
		if v, there := unit[key]; there {
			t.Errorf("%s=%s breaks hooks or the daemon", key, strings.Join(v, " "))
		}
	}
	if got := settings(t, "systemd/flip.service.d/no-hooks.conf")["CapabilityBoundingSet"]; strings.Join(got, "|") != "|CAP_NET_ADMIN CAP_NET_RAW|CAP_IPC_LOCK CAP_SYS_NICE CAP_SYS_RESOURCE" {
		t.Errorf("without hooks: CapabilityBoundingSet %q", got)
	}
}

// A stop may take the largest stop_timeout twice, and a moment for the goodbye:
// with the default the unit must leave it that long.
func TestUnitLeavesTimeForAStop(t *testing.T) {
	f, err := config.Parse("README", ReadmeSample, config.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	text := settings(t, "systemd/flip.service")["TimeoutStopSec"][0]
	limit, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, sys := range f.Spec.Systems {
		if need := 2*sys.StopTimeout + 5*time.Second; time.Duration(limit)*time.Second < need {
			t.Errorf("TimeoutStopSec=%s, a stop may take %v", text, need)
		}
	}
}
