package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestFenceHooks runs the example hooks with stand-ins for the programs that
// reach a BMC or a hypervisor, which no test has.
func TestFenceHooks(t *testing.T) {
	for _, c := range []struct {
		name, hook, conf, program, script, member string
		ok                                        bool
		says, called                              string
	}{
		{
			"switched off", "fence-ipmi", "n1 192.0.2.1 flip /p\nn2 192.0.2.2 admin /q\n", "ipmitool",
			`case "$*" in *status) echo "Chassis Power is off";; esac`, "n2", true,
			"n2 is off", "-I lanplus -H 192.0.2.2 -U admin -f /q chassis power off",
		},
		{
			"a machine that is off refuses", "fence-ipmi", "n1 192.0.2.1 flip /p\n", "ipmitool",
			`case "$*" in *status) echo "Chassis Power is off";; *) exit 1;; esac`, "n1", true, "n1 is off", "power off",
		},
		{
			"stays on", "fence-ipmi", "n1 192.0.2.1 flip /p\n", "ipmitool", `echo "Chassis Power is on"`, "n1", false,
			"does not say that n1 is off: Chassis Power is on", "power status",
		},
		{"no such BMC", "fence-ipmi", "n1 192.0.2.1 flip /p\n", "ipmitool", `echo "no answer" >&2; exit 1`, "n1", false, "no answer", "power off"},
		{"not configured", "fence-ipmi", "n1 192.0.2.1 flip /p\n", "ipmitool", `exit 0`, "n9", false, "for n9", ""},
		{
			"destroyed", "fence-libvirt", "n1 qemu:///system vm-one\n", "virsh",
			`case "$*" in *domstate*) echo "shut off";; esac`, "n1", true, "n1 is off", "--connect qemu:///system destroy vm-one",
		},
		{"still runs", "fence-libvirt", "n1 qemu:///system vm-one\n", "virsh", `echo running`, "n1", false, "is 'running', not off", "domstate vm-one"},
		{"no such host", "fence-libvirt", "n1 qemu:///system vm-one\n", "virsh", `echo "cannot connect" >&2; exit 1`, "n1", false, "cannot connect", "destroy"},
		{"not a member", "fence-libvirt", "n1 qemu:///system vm-one\n", "virsh", `exit 0`, "n9", false, "for n9", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			conf, calls := filepath.Join(dir, "conf"), filepath.Join(dir, "calls")
			write(t, conf, c.conf, 0o600)
			write(t, filepath.Join(dir, c.program), "#!/bin/sh\necho \"$*\" >>"+calls+"\n"+c.script+"\n", 0o755)
			hook, err := filepath.Abs(filepath.Join("examples", "fence", c.hook))
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), hook, c.member, "{}")
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "FENCE_CONF="+conf, "FENCE_TRIES=1")
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok || !strings.Contains(string(out), c.says) {
				t.Errorf("%v, says %q", err, out)
			}
			called, _ := os.ReadFile(calls)
			if !strings.Contains(string(called), c.called) || c.called == "" && len(called) > 0 {
				t.Errorf("called %q", called)
			}
		})
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
