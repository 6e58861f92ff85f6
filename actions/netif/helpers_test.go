package netif

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// writeSysctl sets one of the namespace's own; /proc/sys/net is that of the
// thread which opens it.
func writeSysctl(name, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0)
}

// drop takes a capability from the test's thread, for good: it is never
// unlocked, and ends with the test.
func drop(t *testing.T, capability uint) {
	t.Helper()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
}
