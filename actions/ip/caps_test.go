package ip

import (
	"os"

	"golang.org/x/sys/unix"
)

func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0) }

// dropCapability takes a capability from the calling thread, for good.
func dropCapability(which uint) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return err
	}
	data[which/32].Effective &^= 1 << (which % 32)
	return unix.Capset(&head, &data[0])
}
