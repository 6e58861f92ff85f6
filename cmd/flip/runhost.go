package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/flip-ha/flip/fsm"
)

// Where Linux says which machine this is; the first that can be read counts.
// None of them is on a disk that could be copied to another machine.
var machineFiles = []string{
	"/sys/class/dmi/id/product_uuid",
	"/proc/device-tree/serial-number",
}

const bootIDFile = "/proc/sys/kernel/random/boot_id"

// hostOf says where this process runs. override is the file's `machine`.
// Without any number of the hardware's own the boot id stands in: when in
// doubt, it is another machine.
func hostOf(override, instance string) (fsm.Host, error) {
	boot, err := os.ReadFile(bootIDFile)
	if err != nil {
		return fsm.Host{}, fmt.Errorf("read the boot id: %w", err)
	}
	host := fsm.Host{Boot: strings.TrimSpace(string(boot)), Instance: instance, Machine: override}
	if host.Boot == "" {
		return fsm.Host{}, errors.New("read the boot id: " + bootIDFile + " is empty")
	}
	for _, file := range machineFiles {
		if host.Machine != "" {
			break
		}
		if data, err := os.ReadFile(file); err == nil {
			host.Machine = strings.Trim(string(data), " \n\x00")
		}
	}
	if host.Machine == "" {
		host.Machine = fsm.BootMachine + host.Boot
	}
	return host, nil
}

// newNonce draws 128 random bits; the kernel's source does not fail.
func newNonce() fsm.Nonce {
	var n fsm.Nonce
	_, _ = rand.Read(n[:])
	return n
}
